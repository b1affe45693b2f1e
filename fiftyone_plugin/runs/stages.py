"""The stages of a run, in order: fit, predict, conclude."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..common.progress import Progress, TimedProgress, annotate
from ..common.skipped import Skipped
from ..common.stamps import file_stamp
from ..engines.base import Engine, Lost
from ..errors import PseudoMaskError
from ..images.listing import ImageItem
from ..methods.base import Method
from .exemplars import write_exemplars
from .folder import RunDirectory
from .images import describe_images
from .labelling import LabelWork, Spent
from .likeness import write_dendrogram
from .model import FittedModel
from .pictures import draw_evidence, draw_sheet
from .record import RunDocument
from .samples import SampleRow, total_areas
from .session import Session

if TYPE_CHECKING:
    from ..features.source import ImageFeatureSource
    from ..features.types import FeatureSource

__all__ = ["all_rows", "conclude", "fit", "none_readable", "predict"]

logger = logging.getLogger(__name__)

CHUNK = 64  # images that a worker on another machine is given at once


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
    work: LabelWork,
    engine: Engine,
    items: Sequence[ImageItem],
    source: ImageFeatureSource,
    directory: RunDirectory,
    progress: Progress,
) -> Iterator[SampleRow]:
    """Label images and write their masks, in one pass; yields a row when its files are there.

    What cannot be labelled is in ``source.failures`` afterwards.

    Args:
        work: what is done to an image.
        engine: where.
        items: the images to label.
        source: keeps failures and counts.
        directory: the run's folder.
        progress: where the stage reports to.
    """
    todo = items
    if engine.apart:
        directory.announce(items)
        todo = [item for item in items if item.key not in source.failures]  # they are not tried again
    with progress.stage("masks", total=len(todo)) as stage:
        for found in engine.map(work, todo, CHUNK):
            annotate(stage, engine.describe() or (work.here.bottleneck if work.here else ""))
            if isinstance(found, Spent):
                source.forwards += found.forwards if engine.apart else 0
                continue
            if isinstance(found, Lost):
                found = Skipped(found.item.key, found.reason)
            if isinstance(found, Skipped):
                source.failures[found.key] = found.reason
            else:
                if engine.apart:  # else it was recorded before its mask was written
                    directory.append([found])
                yield found
            stage.update()


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
        write_dendrogram(directory, method, names)
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
