"""What labels images, here or in a worker on another machine: small orders, and who carries them out."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.parallel import batched
from ..common.remote import folder_of, url_of
from ..common.skipped import Skipped
from ..engines.base import Engine, Lost, Needs
from ..engines.registry import create_engine, versions_needed
from ..errors import ImageChangedError, ImageReadError, UsageError
from ..features.loading import Loaded, Loaders
from ..images.listing import ImageItem
from ..masks.areas import class_shares
from ..masks.files import write_mask
from ..masks.native import at_most
from ..masks.quality import confidence_map, image_quality, segment_quality
from ..masks.refine import create_refiner
from ..masks.scores import LabelScores
from .config import LabelConfig
from .folder import RunDirectory
from .model import FittedModel
from .record import RunDocument
from .samples import SampleRow
from .session import Session
from .spool import open_run
from .streaming import Labelled, Stream

if TYPE_CHECKING:
    from ..features.source import ImageFeatureSource
    from ..methods.base import Method

__all__ = ["LabelWork", "Labeller", "Place", "Spent", "engine_of"]

CONFIDENCE_SIDE = 128  # longest side of a confidence map, pixels; patches are coarser
ATTEMPTS = 3  # at an image that is being changed
FEATURES_CHUNK = 16  # images at once: 60 MB of features of the default method at 448 px


@dataclass(frozen=True)
class Spent:
    """What a call of a labeller has cost."""

    forwards: int  # images that went through the network


@dataclass
class Labeller:
    """Labels images of a run and writes their masks."""

    session: Session
    model: FittedModel
    directory: RunDirectory
    record: Callable[[SampleRow], object]  # is given every row before its mask is written
    memos: Path  # what the fit has left of the images
    source: ImageFeatureSource | None = None  # of all images, where this process has them; else one a call
    _stream: Stream[SampleRow | None] | None = field(default=None, repr=False)

    @property
    def bottleneck(self) -> str:
        """What labelling has waited for most, in words."""
        return self._stream.bottleneck if self._stream is not None else ""

    def __call__(self, items: Sequence[ImageItem]) -> Iterator[SampleRow | Skipped | Spent]:
        """Yield a row for every image when its files are there, or why there is none; at last the cost.

        An image that changes meanwhile is labelled again.
        """
        source = self.source
        if source is None:
            method = self.model.method
            source = self.session.source(items, method.inputs, self.memos, method.seen_in_tiles)
        before = source.forwards
        write = partial(self._write, {item.key: item.mask_name for item in items}, threading.Lock())
        replicas, refiner = self.session.replicas(self.model.method), create_refiner(self.model.refine)
        self._stream = Stream(source, replicas, refiner, write)
        keys = {item.key for item in items}
        for _ in range(ATTEMPTS):
            again: set[str] = set()
            for image, found in self._stream.run(keys) if keys else ():
                changed = isinstance(found, ImageChangedError)
                if changed or (isinstance(found, SampleRow) and source.changed(image)):
                    again.add(image.key)
                elif isinstance(found, SampleRow):
                    yield found
                elif found is None:
                    yield Skipped(image.key, "the path of its mask is too long for this file system")
                else:
                    yield Skipped(image.key, found.reason)
            keys = again
        yield from (Skipped(key, ImageChangedError(key).reason) for key in sorted(keys))
        yield from (
            Skipped(item.key, source.failures[item.key]) for item in items if item.key in source.failures
        )
        yield Spent(source.forwards - before)

    def _write(self, names: Mapping[str, str], lock: threading.Lock, labelled: Labelled) -> SampleRow | None:
        """Write a mask and its row; ``None`` where the file system takes no path so long."""
        start = time.perf_counter()
        image, name, mask = labelled.image, names[labelled.image.key], labelled.mask()
        scores = labelled.scores.to_numpy()
        classes, shares = class_shares(mask)
        confidence = at_most(confidence_map(scores.scores), CONFIDENCE_SIDE)
        row = SampleRow(
            image=image.key,
            mask=name,
            height=image.size[0],
            width=image.size[1],
            classes=classes,
            shares=shares,
            qualities=_qualities(scores, classes),
            coverage=float((mask > 0).mean()),
            quality=image_quality(scores.scores, scores.agreement, scores.refined),
            seconds=labelled.seconds + time.perf_counter() - start,
            stamp=image.stamp,
        )
        with lock:
            self.record(row)
        try:
            write_mask(self.directory.confidence / name, confidence)
            write_mask(self.directory.masks / name, mask)
            self.directory.stored(name)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            return None
        return row


def _qualities(scores: LabelScores, classes: tuple[int, ...]) -> tuple[float, ...]:
    """Return the quality of each class of a mask; 0 for one that won nowhere before the refinement."""
    found = segment_quality(scores.scores, scores.agreement, scores.refined)
    known = dict(zip(scores.labels.tolist(), found, strict=True))
    return tuple(float(f"{np.nan_to_num(known[id_]):.4f}") for id_ in classes)


@dataclass(frozen=True)
class LabelWork:
    """To label images of a run, see :class:`~..engines.base.Work`."""

    config: LabelConfig  # as a worker needs it, see _far_config
    root: str  # the run's folder, which a worker must see under the same path, or address
    run_id: str  # what the folder's record says, to know it by
    memos: Path  # what the fit has left of the images
    images: int  # in all
    example: str  # one of them that this process can read
    here: Labeller | None = field(default=None, repr=False, compare=False)  # of this process: does not travel

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "here": None}

    def open(self) -> Labeller:
        """Load the fitted model and its backbone, unless they are here.

        Raises:
            UsageError: the run's folder, the images or the weights are not where this process looks for them.
        """
        if self.here is not None:
            return self.here
        directory = open_run(folder_of(self.root))
        directory.fetch_finished()
        try:
            found = RunDocument.read(directory.root / "run.json").run_id
        except UsageError:
            found = None
        if found != self.run_id:
            raise UsageError(
                f"does not see the run in {directory.final_root}, or another one there: --out has to be on a "
                "disk that all machines share, under the same path, or in a store"
            )
        _require_image(self.example)
        model = FittedModel.load(directory.model)
        session = Session.open(self.config, model, images=self.images)
        session.prepare(model.method)
        return Labeller(session, model, directory, lambda row: None, self.memos)


def _far_config(config: LabelConfig, session: Session) -> LabelConfig:
    """Return the settings of workers: what this process has decided, and nothing that is of its machine."""
    backbone = session.backbone
    return replace(config, backbone=backbone.loaded.source, precision=backbone.precision, cache=False, jobs=0)


def _require_image(example: str) -> None:
    """Refuse to go on where this machine does not see an image; an empty path is that of none."""
    if example and not os.path.isfile(example):
        raise UsageError(
            f"does not see the image {example}: the images have to be on a disk that all machines share, "
            "under the same path"
        )


def engine_of(config: LabelConfig) -> Engine:
    """Return the engine that settings name, not yet connected.

    Raises:
        UsageError: settings of workers without an engine that has some.
        MissingDependencyError: it is not installed.
    """
    needs = Needs(config.workers, config.cpus_per_worker, config.gpus_per_worker, versions_needed())
    return create_engine(config.engine, address=config.address, needs=needs, jobs=config.jobs)


@dataclass(frozen=True)
class Place:
    """One run on an engine: the session and the source are those of this process, the folder is open."""

    engine: Engine
    config: LabelConfig
    session: Session
    source: ImageFeatureSource
    folder: RunDirectory

    @contextmanager
    def features(self, method: Method) -> Iterator[None]:
        """Let the workers compute features of the source meanwhile, where this process has no GPU."""
        if not self.engine.apart or self.session.backbone.device != "cpu":
            yield
            return
        near, backbone = self.source.loaders, self.session.backbone
        work = _FeatureWork(
            _far_config(self.config, self.session),
            backbone.loaded.state_sha256,
            method.inputs,
            self._example(),
            method.seen_in_tiles,
        )
        self.source.loaders = _FarLoaders(engine=self.engine, work=work, at_hand=self.source.at_hand)
        try:
            yield
        finally:
            self.source.loaders = near

    def labelling(self, model: FittedModel, memos: Path) -> LabelWork:
        """Return what is done to every image: by the labeller of this process, unless workers are apart."""
        here = None
        if not self.engine.apart:
            append = self.folder.append
            here = Labeller(self.session, model, self.folder, lambda row: append([row]), memos, self.source)
        config = _far_config(self.config, self.session)
        root = url_of(self.folder.final_root) or str(self.folder.root.absolute())
        run_id, images = self.folder.run_id, len(self.folder.items)
        return LabelWork(config, root, run_id, memos.absolute(), images, self._example(), here)

    def _example(self) -> str:
        """Return an image on the disk that this process sees; empty where it sees none."""
        return next((item.path for item in self.folder.items[:100] if os.path.isfile(item.path)), "")


@dataclass(frozen=True)
class _FeatureWork:
    """To read, decode and describe images, see :class:`~..engines.base.Work`."""

    config: LabelConfig  # as a worker needs it, see _far_config
    weights_sha256: str  # of the weights that the worker must have
    layers: tuple[str, ...]  # as the method names them
    example: str  # an image that every machine must see; empty for none
    tiles: int  # in which images are seen besides, see ..features.tiles; 1 for none

    def open(self) -> Callable[[Sequence[ImageItem]], Iterator[Loaded | ImageReadError]]:
        """Load the backbone.

        Raises:
            UsageError: the weights or the images are not where this machine looks for them.
        """
        _require_image(self.example)
        session = Session.open(self.config)
        if session.backbone.loaded.state_sha256 != self.weights_sha256:
            raise UsageError(
                f"has other weights of {session.backbone.name} than this process: name their file with "
                "--backbone, on a disk that all machines share"
            )
        return lambda items: _describe(session.source(items, self.layers, tiles=self.tiles), items)


def _describe(source: ImageFeatureSource, items: Sequence[ImageItem]) -> Iterator[Loaded | ImageReadError]:
    """Yield the images with their features, or why they cannot be read, in their order."""
    found: dict[str, Loaded] = {}
    layers = sorted(set(source.resolved.values()))
    for group in batched(source.load(), source.batch_size):
        pixels = [loaded.pixels for loaded in group if loaded.pixels is not None]
        tensors = {name: tensor.cpu().numpy() for name, tensor in source.forward(pixels, layers).items()}
        for row, loaded in enumerate(group):
            own = {name: array[row].copy() for name, array in tensors.items()}
            found[loaded.item.key] = replace(loaded, pixels=None, layers=own)
    for item in items:
        yield found.get(item.key) or ImageReadError(item.path, source.failures.get(item.key, "not read"))


@dataclass(frozen=True)
class _FarLoaders(Loaders):
    """Loads images with their features from workers, see :class:`~..features.loading.Loaders`."""

    engine: Engine = field(kw_only=True)
    work: _FeatureWork = field(kw_only=True)
    at_hand: Callable[[ImageItem], bool] = field(kw_only=True)  # of which images the features are here

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], ahead: int) -> Iterator[Any]:
        """Yield every item and what became of it, in order; ``function`` looks at those that are at hand."""
        every = list(items)
        far = [item for item in every if not self.at_hand(item)]
        names = {item.key for item in far}
        found = self.engine.gather(self.work, far, FEATURES_CHUNK)
        for item in every:
            one = next(found) if item.key in names else function(item)
            yield item, ImageReadError(item.path, one.reason) if isinstance(one, Lost) else one
        for _ in found:  # to its end, where it lets go of the workers
            pass
