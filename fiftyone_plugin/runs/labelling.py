"""What labels images, here or in a worker on another machine: a small order, and who carries it out."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..common.remote import folder_of
from ..common.skipped import Skipped
from ..errors import ImageChangedError, UsageError
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

__all__ = ["LabelWork", "Labeller", "Spent", "far_config", "require_image"]

CONFIDENCE_SIDE = 128  # longest side of a confidence map, pixels; patches are coarser
ATTEMPTS = 3  # at an image that is being changed


@dataclass(frozen=True)
class Spent:
    """What a call of a labeller has cost."""

    forwards: int  # images that went through the network


@dataclass
class Labeller:
    """Labels images of a run and writes their masks.

    Attributes:
        record: is given every row before its mask is written.
        memos: what the fit has left of the images.
        source: the images, where this process has them all; ``None`` for a source for each call.
    """

    session: Session
    model: FittedModel
    directory: RunDirectory
    record: Callable[[SampleRow], object]
    memos: Path
    source: ImageFeatureSource | None = None
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


# ---------------------------------------------------------------------- what travels to a worker


@dataclass(frozen=True)
class LabelWork:
    """To label images of a run, see :class:`~..engines.base.Work`.

    Attributes:
        config: settings, as a worker needs them, see :func:`far_config`.
        root: the run's folder, as this process sees it; a worker must see it under the same path, or address.
        run_id: what the folder's record says, to know it by.
        memos: what the fit has left of the images.
        images: how many there are in all.
        example: one of them that this process can read.
        here: the labeller of this process; it does not travel.
    """

    config: LabelConfig
    root: str
    run_id: str
    memos: Path
    images: int
    example: str
    here: Labeller | None = field(default=None, repr=False, compare=False)

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
        require_shared(directory, self.run_id, self.example)
        model = FittedModel.load(directory.model)
        session = Session.open(self.config, model, images=self.images)
        session.prepare(model.method)
        return Labeller(session, model, directory, lambda row: None, self.memos)


def far_config(config: LabelConfig, session: Session) -> LabelConfig:
    """Return the settings of workers: what this process has decided, and nothing that is of its machine."""
    backbone = session.backbone
    return replace(config, backbone=backbone.loaded.source, precision=backbone.precision, cache=False, jobs=0)


def require_shared(directory: RunDirectory, run_id: str, example: str) -> None:
    """Check that this machine sees a run's folder and its images.

    Raises:
        UsageError: it does not.
    """
    try:
        found = RunDocument.read(directory.root / "run.json").run_id
    except UsageError:
        found = None
    if found != run_id:
        raise UsageError(
            f"does not see the run in {directory.final_root}, or another one there: --out has to be on a "
            "disk that all machines share, under the same path, or in a store"
        )
    require_image(example)


def require_image(example: str) -> None:
    """Check that this machine sees an image; an empty path is that of none.

    Raises:
        UsageError: it does not.
    """
    if example and not os.path.isfile(example):
        raise UsageError(
            f"does not see the image {example}: the images have to be on a disk that all machines share, "
            "under the same path"
        )
