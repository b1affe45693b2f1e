"""The stages of a run, in order: fit, predict, conclude."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..common.progress import Progress, TimedProgress, annotate
from ..common.stamps import file_stamp
from ..errors import ImageChangedError, PseudoMaskError
from ..masks.areas import class_shares
from ..masks.files import write_mask
from ..masks.native import at_most
from ..masks.quality import confidence_map, image_quality, segment_quality
from ..masks.refine import create_refiner
from ..masks.scores import LabelScores
from ..methods.base import Method
from .exemplars import write_exemplars
from .folder import RunDirectory
from .images import describe_images
from .model import FittedModel
from .pictures import draw_evidence, draw_sheet
from .record import RunDocument
from .samples import SampleRow, total_areas
from .session import Session
from .streaming import Labelled, Stream

if TYPE_CHECKING:
    from ..features.source import ImageFeatureSource
    from ..features.types import FeatureSource

__all__ = ["all_rows", "conclude", "fit", "none_readable", "predict"]

logger = logging.getLogger(__name__)

CONFIDENCE_SIDE = 128  # longest side of a confidence map, pixels; patches are coarser
ATTEMPTS = 3  # at an image that is being changed


def fit(source: ImageFeatureSource, sample: FeatureSource, method: Method, progress: Progress) -> Method:
    """Fit a method on the images of a source, or some of them.

    Raises:
        PseudoMaskError: not one image could be read, or as the method says.
    """
    if len(sample) < len(source):
        logger.warning(
            "classes are learnt from %s of the %s images, drawn by their content; --fit-images takes more",
            f"{len(sample):,}",
            f"{len(source):,}",
        )
    try:
        method.fit(sample, progress=progress)
    except PseudoMaskError as error:
        if len(source.failures) >= len(sample):
            raise none_readable(source) from error
        raise
    return method


def none_readable(source: ImageFeatureSource) -> PseudoMaskError:
    """Return the error of a run in which not one image could be read."""
    listed = [f"{key}: {reason}" for key, reason in list(source.failures.items())[:5]]
    return PseudoMaskError(
        f"none of the {len(source)} images could be read. First reasons: {'; '.join(listed)}"
    )


# ---------------------------------------------------------------------- predict


def predict(
    model: FittedModel,
    source: ImageFeatureSource,
    session: Session,
    directory: RunDirectory,
    keys: set[str],
    progress: Progress,
) -> Iterator[SampleRow]:
    """Label images and write their masks, in one pass; yields a row when its files are there.

    What cannot be labelled is in ``source.failures`` afterwards. An image that changes meanwhile is labelled
    again.

    Args:
        model: the fitted model.
        source: the images.
        session: what labels them.
        directory: the run's folder.
        keys: the images to label.
        progress: where the stage reports to.
    """
    names = {item.key: item.mask_name for item in directory.items}
    finish = partial(_write, directory, names, threading.Lock())
    stream = Stream(source, session.replicas(model.method), create_refiner(model.refine), finish)
    with progress.stage("masks", total=len(keys)) as stage:
        for _ in range(ATTEMPTS):
            again: set[str] = set()
            for image, found in stream.run(keys) if keys else ():
                annotate(stage, stream.bottleneck)
                if isinstance(found, ImageChangedError) or (
                    isinstance(found, SampleRow) and source.changed(image)
                ):
                    again.add(image.key)
                    continue
                if isinstance(found, SampleRow):
                    yield found
                else:
                    source.failures[image.key] = (
                        "the path of its mask is too long for this file system"
                        if found is None
                        else found.reason
                    )
                stage.update()
            keys = again
        for key in keys:
            source.failures[key] = ImageChangedError(key).reason
            stage.update()


def _write(
    directory: RunDirectory, names: Mapping[str, str], lock: threading.Lock, labelled: Labelled
) -> SampleRow | None:
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
        quality=image_quality(scores.scores, scores.agreement),
        seconds=labelled.seconds + time.perf_counter() - start,
        stamp=image.stamp,
    )
    with lock:
        directory.append([row])
    try:
        write_mask(directory.confidence / name, confidence)
        write_mask(directory.masks / name, mask)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return None
    return row


def _qualities(scores: LabelScores, classes: tuple[int, ...]) -> tuple[float, ...]:
    """Return the quality of each class of a mask; 0 for one that won nowhere before the refinement."""
    known = dict(zip(scores.labels.tolist(), segment_quality(scores.scores, scores.agreement), strict=True))
    return tuple(float(f"{np.nan_to_num(known[id_]):.4f}") for id_ in classes)


# ---------------------------------------------------------------------- conclude


def conclude(
    directory: RunDirectory,
    model: FittedModel,
    session: Session,
    rows: list[SampleRow],
    record: RunDocument,
    progress: TimedProgress,
    began: float,
) -> RunDocument:
    """Write the tables and pictures of a run whose masks are all there, and its record.

    Args:
        directory: the run's folder.
        model: what labelled the images.
        session: what it used.
        rows: a row an image, in the order of the keys.
        record: what is known of the run besides.
        progress: where stages report to, and what knows their seconds.
        began: when the run began, by ``time.perf_counter``.

    Returns:
        The record, complete.
    """
    directory.remove_unlisted(rows)
    method = model.method
    names = method.class_names
    directory.write_classes(names)
    paths = {item.key: item.path for item in directory.items}
    labelled = [row for row in rows if row.status == "labelled"]
    with progress.stage("contact sheet", total=1, unit="sheet") as stage:
        title = f"{method.name} · {session.backbone.name} · {len(labelled)} images · {len(names)} classes"
        draw_sheet(directory, rows, paths, names, title)
        if method.get_config().get("n_classes") == "auto":
            draw_evidence(directory, method)
        stage.update()
    with progress.stage("exemplars", total=1, unit="set") as stage:
        write_exemplars(directory, rows, paths)
        stage.update()
    seconds = {"total": time.perf_counter() - began, **progress.seconds}
    record = replace(
        record,
        status="complete",
        run_id=directory.run_id,
        settings={**record.settings, **describe_images({row.image: row.stamp for row in rows})},
        counts={"images": len(rows), "labelled": len(labelled), "skipped": len(rows) - len(labelled)},
        classes={str(id_): name for id_, name in names.items()},
        areas={str(id_): share for id_, share in total_areas(labelled).items()},
        seconds={stage: round(value, 3) for stage, value in seconds.items()},
    )
    if method.kept_name is not None:
        directory.keep_tokens(method.kept_name)
    directory.write_samples(rows)
    directory.write_run(record)
    directory.finish()
    return record


def all_rows(
    directory: RunDirectory, done: Mapping[str, SampleRow], source: ImageFeatureSource
) -> list[SampleRow]:
    """Return a row an image, also of those that were skipped."""
    return [
        done.get(item.key)
        or SampleRow(
            image=item.key,
            status="skipped",
            error=source.failures.get(item.key, "not processed"),
            stamp=file_stamp(item.path),
        )
        for item in directory.items
    ]
