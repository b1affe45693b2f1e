"""One pass from files to labels: load, network, scores, refinement; several devices, all at once.

Batches go round the devices. On each, one thread runs the network and another one labels what came out, so
that both halves of the work overlap; a few threads do what is left to do for single images.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from ..common.memory import is_out_of_memory
from ..common.parallel import Threads, batched, usable_cores
from ..errors import ImageReadError
from ..features.loading import Loaded
from ..features.types import FeatureBatch, ImageFeatures
from ..masks.native import native_labels
from ..masks.refine import Refiner, make_guide, refine_all
from ..masks.scores import DeviceScores
from ..methods.base import Method

if TYPE_CHECKING:
    import torch

    from ..features.backbones import Backbone
    from ..features.source import ImageFeatureSource

__all__ = ["Labelled", "Replica", "Stream", "label_images"]

T = TypeVar("T")
R = TypeVar("R")
BATCHES_AHEAD = 2  # on each device
WORDS = {"decode": "files", "device": "the network", "write": "masks"}


@dataclass(frozen=True)
class Labelled:
    """An image whose scores are final."""

    image: ImageFeatures
    scores: DeviceScores  # the method's, before the refinement
    refined: torch.Tensor  # (L, h, w), after it
    seconds: float  # of the network and the method, its share of the batch

    def mask(self) -> np.ndarray:
        """Return the (H, W) class ids of the native image, see :func:`~..masks.native.native_labels`."""
        return native_labels(self.refined, self.scores.labels, self.image.size)


Outcome = tuple[ImageFeatures, Labelled | ImageReadError]
Scored = tuple[ImageFeatures, DeviceScores | ImageReadError]


@dataclass(frozen=True)
class Replica:
    """What labels on one device: a backbone, and a fitted method whose ``device`` is that of the backbone."""

    backbone: Backbone
    method: Method


@dataclass(frozen=True)
class _Encoded:
    """A batch after the network; ``known`` needed none, or is an error."""

    group: list[Loaded]
    batch: FeatureBatch
    known: dict[str, Scored]
    seconds: float


@dataclass
class Stream(Generic[T]):
    """Labels images in one pass."""

    source: ImageFeatureSource
    replicas: Sequence[Replica]  # one for each device
    refiner: Refiner
    finish: Callable[[Labelled], T]  # makes of an image what is wanted of it, in a thread
    # what the pass had to wait for -> seconds: decode, device or write
    waited: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _threads: Threads | None = field(default=None, repr=False)

    def run(self, keys: Collection[str]) -> Iterator[tuple[ImageFeatures, T | ImageReadError]]:
        """Yield what became of the images of these keys, in order.

        What cannot be read is in ``source.failures``; an error that stands in the place of a result is of an
        image that could be read and not be labelled.
        """
        threads = max(2, min(16, usable_cores()))
        with ExitStack() as stack:
            self._threads = stack.enter_context(Threads())
            lanes = [self._lane(replica, stack) for replica in self.replicas]
            finishers = _open_pool("finish", threads, stack)
            # without a guide, what is known of an image may be all that is needed
            known = None if self._guide_side else self.source.knows
            loaded = self.source.load(keys, guide_side=self._guide_side, known=known)
            groups = batched(loaded, self.source.batch_size)
            scored: deque[Future[list[Outcome]]] = deque()
            for n in count():
                group = self._timed("decode", lambda: next(groups, None))
                if group is None:
                    break
                scored.append(lanes[n % len(lanes)](group))
                if len(scored) > BATCHES_AHEAD * len(lanes):
                    yield from self._finished(scored.popleft(), finishers)
            while scored:
                yield from self._finished(scored.popleft(), finishers)

    @property
    def _guide_side(self) -> int:
        return 0 if self.replicas[0].method.refines else self.refiner.guide_side

    @property
    def bottleneck(self) -> str:
        """What the pass has waited for most, in words; empty before anything came out."""
        if not self.waited:
            return ""
        what = max(self.waited, key=lambda name: self.waited[name])
        share = self.waited[what] / max(1e-9, sum(self.waited.values()))
        return f"{share:.0%} of the time waiting for {WORDS[what]}"

    def _finished(
        self, scored: Future[list[Outcome]], finishers: Executor
    ) -> Iterator[tuple[ImageFeatures, T | ImageReadError]]:
        """Finish the images of a batch; meanwhile the devices work at the next ones."""
        begun = [
            (image, finishers.submit(self.finish, outcome) if isinstance(outcome, Labelled) else outcome)
            for image, outcome in self._timed("device", scored.result)
        ]
        for image, outcome in begun:
            if isinstance(outcome, ImageReadError):
                yield image, outcome
                continue
            try:
                result: T | ImageReadError = self._timed("write", outcome.result)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                result = _too_large(image)
            yield image, result

    def _timed(self, what: str, function: Callable[[], R]) -> R:
        start = time.perf_counter()
        result = function()
        self.waited[what] += time.perf_counter() - start
        return result

    def _lane(self, replica: Replica, stack: ExitStack) -> Callable[[list[Loaded]], Future[list[Outcome]]]:
        """Return what hands a batch to a device."""
        network, label = (_open_pool(name, 1, stack) for name in ("network", "label"))

        def hand_over(group: list[Loaded]) -> Future[list[Outcome]]:
            encoded = network.submit(self._encode, group, replica)
            return label.submit(lambda: self._label(encoded.result(), replica))

        return hand_over

    # ------------------------------------------------------------------ in the threads of a device

    def _encode(self, group: list[Loaded], replica: Replica) -> list[_Encoded]:
        """Label what the fit has kept, and run the others through the network, as many as fit."""
        if len(group) > self.source.batch_size:  # cut before memory ran short
            return self._halves(group, replica)
        start = time.perf_counter()
        try:
            known = [self.source.describe(loaded) for loaded in group]
            pairs = zip(known, replica.method.predict_kept(known), strict=True)
            kept: dict[str, Scored] = {image.key: (image, one) for image, one in pairs if one is not None}
            if kept and self._guide_side:
                self.source.forget()  # the features of the fit are not needed any more
            rest = [loaded for loaded in group if loaded.item.key not in kept]
            batch = self.source.encode(rest, replica.backbone) if rest else FeatureBatch([], {})
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return self._less(group, replica)
        return [_Encoded(group, batch, kept, time.perf_counter() - start)]

    def _less(self, group: list[Loaded], replica: Replica) -> list[_Encoded]:
        """Go on with smaller batches; an image that is too large alone gets its error."""
        if len(group) > 1:
            self.source.batch_size = len(group) // 2  # of the source, which fills batches up to it on a GPU
            return self._halves(group, replica)
        image = self.source.describe(group[0])
        return [_Encoded(group, FeatureBatch([], {}), {image.key: (image, _too_large(image))}, 0.0)]

    def _halves(self, group: list[Loaded], replica: Replica) -> list[_Encoded]:
        middle = len(group) // 2
        return self._encode(group[:middle], replica) + self._encode(group[middle:], replica)

    def _label(self, parts: list[_Encoded], replica: Replica) -> list[Outcome]:
        outcomes: list[Outcome] = []
        waiting = deque(parts)
        while waiting:
            part = waiting.popleft()
            try:
                outcomes += self._label_part(part, replica)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                waiting.extendleft(reversed(self._less(part.group, replica)))
        return outcomes

    def _label_part(self, encoded: _Encoded, replica: Replica) -> list[Outcome]:
        start = time.perf_counter()
        found = dict(encoded.known)
        if len(encoded.batch):
            images, predicted = encoded.batch.images, replica.method.predict_batch(encoded.batch)
            found |= {image.key: (image, one) for image, one in zip(images, predicted, strict=True)}
        outcomes: list[Outcome] = []
        scored: list[tuple[Loaded, ImageFeatures, DeviceScores]] = []
        for loaded in encoded.group:
            if loaded.item.key not in found:
                continue
            image, one = found[loaded.item.key]
            if isinstance(one, ImageReadError):
                outcomes.append((image, one))
            else:
                scored.append((loaded, image, one))
        refined = self._refine(scored, replica.backbone.device)
        seconds = (encoded.seconds + time.perf_counter() - start) / len(encoded.group)
        labelled = zip(scored, refined, strict=True)
        return outcomes + [(image, Labelled(image, one, new, seconds)) for (_, image, one), new in labelled]

    def _refine(
        self, scored: Sequence[tuple[Loaded, ImageFeatures, DeviceScores]], device: str
    ) -> list[torch.Tensor]:
        """Return the final scores of images; of a batch that needs no guide they are the method's."""
        side, found = self._guide_side, [one for _, _, one in scored]
        if not side or not scored:
            return [one.scores for one in found]
        import torch

        from ..features.backbones import to_device

        pixels = [loaded.guide if loaded.guide is not None else loaded.pixels for loaded, _, _ in scored]
        stacked = np.stack([array for array in pixels if array is not None])  # all are decoded
        with torch.inference_mode():
            guide = make_guide(to_device(stacked, device), side)
            sizes = [image.size for _, image, _ in scored]
            return refine_all(self.refiner, found, guide, sizes, self._threads)


def label_images(
    source: ImageFeatureSource, replicas: Sequence[Replica], refiner: Refiner
) -> Iterator[tuple[ImageFeatures, Labelled]]:
    """Yield every image of a source with its final scores; what cannot be labelled is in ``failures``."""
    stream: Stream[Labelled] = Stream(source, replicas, refiner, lambda labelled: labelled)
    for image, outcome in stream.run({item.key for item in source.items}):
        if isinstance(outcome, ImageReadError):
            source.failures[image.key] = outcome.reason
        else:
            yield image, outcome


def _open_pool(name: str, threads: int, stack: ExitStack) -> Executor:
    """Return threads that end with the stack; what they have not begun then is withdrawn."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    stack.callback(pool.shutdown, wait=True, cancel_futures=True)
    return pool


def _too_large(image: ImageFeatures) -> ImageReadError:
    return ImageReadError(image.key, "memory ran short at this image; a smaller --size may help")
