"""The stages of a run, in order: fit, predict, conclude."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..common.files import atomic
from ..common.progress import Progress, TimedProgress, annotate
from ..common.skipped import Skipped
from ..engines.base import Engine, Lost
from ..errors import ImageReadError, PseudoMaskError
from ..images.drawing import contact_sheet
from ..images.listing import ImageItem
from ..images.reduced import read_reduced
from ..masks.files import read_mask
from ..methods.base import Method
from .exemplars import write_exemplars
from .folder import RunDirectory
from .images import describe_images
from .labelling import LabelWork, Spent
from .likeness import write_dendrogram
from .model import FittedModel
from .record import RunDocument
from .samples import SampleRow, total_areas
from .session import Session

if TYPE_CHECKING:
    from ..features.source import ImageFeatureSource
    from ..features.types import FeatureSource

__all__ = ["SHEET_IMAGES", "conclude", "draw_sheet", "fit", "none_readable", "predict"]

logger = logging.getLogger(__name__)

SHEET_IMAGES = 12
CELL = (230, 172)  # width and height of a picture, pixels
CHUNK = 64  # images that a worker on another machine is given at once


def fit(source: ImageFeatureSource, sample: FeatureSource, method: Method, progress: Progress) -> None:
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


def none_readable(source: ImageFeatureSource) -> PseudoMaskError:
    """Return the error of a run in which not one image could be read."""
    listed = [f"{key}: {reason}" for key, reason in list(source.failures.items())[:5]]
    return PseudoMaskError(
        f"none of the {len(source)} images could be read. First reasons: {'; '.join(listed)}"
    )


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

    The rows are those of all images, in the order of the keys; the run began at ``began`` by
    ``time.perf_counter``. Returns the record, complete.
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
            _draw_evidence(directory, method)
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


def draw_sheet(
    directory: RunDirectory,
    rows: list[SampleRow],
    paths: Mapping[str, str],
    names: dict[int, str],
    title: str,
) -> None:
    """Write ``contact_sheet.png``: images spread evenly over the run, beside their masks.

    ``paths`` leads from the key of an image to its file.
    """
    labelled = [row for row in rows if row.status == "labelled"]
    picks = np.unique(np.linspace(0, len(labelled) - 1, min(SHEET_IMAGES, len(labelled))).round().astype(int))
    pairs = filter(None, (_read_pair(directory, labelled[i], paths) for i in picks))
    with atomic(directory.root / "contact_sheet.png") as partial:
        contact_sheet(pairs, names, title, cell=CELL).save(partial, format="PNG")


def _draw_evidence(directory: RunDirectory, method: Method) -> None:
    """Write ``eigenvalues.png`` for a method that found its number of classes in a spectrum."""
    from ..images.plots import plot_eigenvalues

    eigenvalues = np.asarray(getattr(method, "eigenvalues_", ()))
    if len(eigenvalues):
        with atomic(directory.root / "eigenvalues.png") as partial:
            plot_eigenvalues(eigenvalues, method.n_classes_, partial)


def _read_pair(
    directory: RunDirectory, row: SampleRow, paths: Mapping[str, str]
) -> tuple[str, np.ndarray, np.ndarray] | None:
    try:
        mask = read_mask(directory.mask_file(row.mask))
        scale = min(1.0, max(CELL[0] / mask.shape[1], CELL[1] / mask.shape[0]))
        height, width = (max(1, round(n * scale)) for n in mask.shape)
        return row.image, read_reduced(paths[row.image], height, width)[0], mask
    except ImageReadError:
        return None  # gone since it was labelled: its mask stays, the sheet shows the others
