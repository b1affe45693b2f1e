"""A finished run into the fields of a dataset, in steps that can all be done twice.

A first run is recorded as ``running`` until its fields are filled, and goes on when it is called again. A run
that replaces another one is noted in the record of that one, under ``replace``: until the new masks are all
there the fields, files and views of the old run stay as they are, and then change in one go, which
:mod:`.recovery` carries on if it is cut short.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.parallel import batched
from ..common.progress import NullProgress, Progress
from ..images.listing import all_samples
from ..runs.folder import RunDirectory
from ..runs.record import RunDocument
from ..runs.samples import SampleRow, read_samples
from .colours import write_classes
from .comparison import list_comparisons, undo_comparison
from .journal import at_work, note, pending
from .ownership import RunFolder, detach, folder_of, ids_of_others, ids_of_run, is_own, remove_files
from .record import COMPLETE, RunFields, RunRecord, read_record, save_record
from .views import save_views

if TYPE_CHECKING:
    from fiftyone import Dataset

    from ..runs.result import LabelResult

__all__ = ["conclude", "is_finished", "load_result", "rows_by_path", "write_run"]

logger = logging.getLogger(__name__)

WRITE_BATCH = 1000
OTHERS = "{} labels in {!r} were not written by a run: they stay; clear them to have those images labelled"


def is_finished(out: Path) -> bool:
    """Return whether a folder holds a run of which all masks are there."""
    record = RunDirectory(out).read_run()
    return record is not None and record.is_complete


def load_result(out: Path) -> LabelResult:
    """Return the result of a finished run, from its folder.

    Raises:
        UsageError: it cannot be read.
    """
    from ..runs.result import LabelResult

    directory = RunDirectory(out)
    record = directory.read_run() or RunDocument({})
    return LabelResult(out, read_samples(directory.samples_csv), record.class_names, record.to_json())


def rows_by_path(dataset: Dataset, result: LabelResult) -> Iterator[tuple[str, SampleRow]]:
    """Yield every sample that shows an image of a run, and the row of that image."""
    root = str(result.run.get("images_root") or "")
    rows = {_normal(os.path.join(root, row.image)): row for row in result.labelled}
    for sample_id, path in zip(*all_samples(dataset).values(["id", "filepath"]), strict=True):
        row = rows.get(_normal(path))
        if row is not None:
            yield sample_id, row


def _normal(path: str) -> str:
    return os.path.normcase(os.path.abspath(path))


def write_run(
    dataset: Dataset,
    record: RunRecord,
    result: LabelResult,
    rows: Iterable[tuple[str, SampleRow]],
    progress: Progress | None = None,
) -> None:
    """Write the fields, mask targets, record and saved views of a finished run, whose ``record`` was claimed.

    ``rows`` has id and row of every labelled sample; one whose label a person has put there keeps it.
    """
    progress = progress or NullProgress()
    stored = read_record(dataset, record.key)
    old = stored if stored is not None and stored.out != record.out else None
    outs = [record.out, *([old.out] if old is not None else [])]
    own = old is None or is_own(dataset, folder_of(old))
    others = ids_of_others(dataset, record.field, outs, own=own)
    if others:
        logger.warning("%s", OTHERS.format(len(others), record.field))
    rows = [(sample_id, row) for sample_id, row in rows if sample_id not in others]
    begun = (stored.pending if stored is not None else {}).get("label" if old is None else "replace") or {}
    asked = str(begun.get("asked") or "")
    with at_work() as holder:
        if old is not None:
            step = {**old.pending["replace"], "writing": True, "holder": holder}
            note(dataset, record.key, replace=step)
        _write_values(dataset, RunFields(record.field), result, rows, progress)
        if old is not None:
            detach(dataset, record.field, others, outs)
            _clear_others(dataset, old, record, {sample_id for sample_id, _ in rows}, others)
        write_classes(dataset, record.field, result.class_names)
        if old is not None:
            for comparison in list_comparisons(dataset, record.field):
                undo_comparison(dataset, comparison.key)
        steps: dict[str, Any] = {"views": {"asked": asked, "holder": holder}}
        if old is not None:
            steps["remove"] = {**folder_of(old).to_json(), "asked": asked, "holder": holder}
        complete = replace(
            record,
            status=COMPLETE,
            settings=result.run["settings"],
            counts=result.run["counts"],
            areas=result.run["areas"],
            run_id=str(result.run.get("run_id") or record.run_id),
            saved_views={},
            edits=[],
            detections={},
            pending=steps,
        )
        save_record(dataset, complete)
        conclude(dataset, record.key)
    for path in (RunFields(record.field).classes, RunFields(record.field).quality):
        with suppress(Exception):  # of the database's client: without an index, all works more slowly
            dataset.create_index(path)


def conclude(dataset: Dataset, key: str) -> None:
    """Do what remains once the fields of a run are filled: save its views, remove the files it replaces."""
    steps = pending(dataset, key)
    if "views" in steps:
        save_views(dataset, key)
        note(dataset, key, views=None)
    if "remove" in steps:
        remove_files(dataset, RunFolder.of(steps["remove"]), key)
        note(dataset, key, remove=None)


def _write_values(
    dataset: Dataset,
    fields: RunFields,
    result: LabelResult,
    rows: list[tuple[str, SampleRow]],
    progress: Progress,
) -> None:
    import fiftyone as fo

    mask, classes, coverage, quality, confidence = fields.all
    for name, arguments in fields.types.items():
        dataset.add_sample_field(name, **arguments)
    names = result.class_names
    with progress.stage("write fields", total=len(rows)) as stage:
        for batch in batched(rows, WRITE_BATCH):
            values: dict[str, dict[str, Any]] = {
                mask: {i: fo.Segmentation(mask_path=str(result.mask_path(r).absolute())) for i, r in batch},
                classes: {i: [names[c] for c in r.classes if c in names] for i, r in batch},
                coverage: {i: r.coverage for i, r in batch},
                quality: {i: r.quality for i, r in batch},
                confidence: {
                    i: fo.Heatmap(map_path=str(result.confidence_path(r).absolute()), range=[0, 255])
                    for i, r in batch
                },
            }
            for name, by_id in values.items():
                dataset.set_values(name, by_id, key_field="id")
            stage.update(len(batch))


def _clear_others(
    dataset: Dataset, old: RunRecord, new: RunRecord, written: set[str], others: set[str]
) -> None:
    """Empty the fields on samples that the old run has labelled and the new one has not.

    A label that no run has written stays in the mask field.
    """
    samples = all_samples(dataset)
    shown = ids_of_run(dataset, old)
    for name in reversed(new.fields):  # the mask last: it tells which samples are the old run's
        ids = samples.exists(name).values("id") if name in new.created_fields else shown
        values = dict.fromkeys(set(ids) - written - (others if name == new.field else set()))
        if values:
            samples.set_values(name, values, key_field="id")
