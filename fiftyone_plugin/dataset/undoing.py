"""What a run made goes: fields, views, comparisons, record, and the files that are its own."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..images.listing import all_samples
from ..runs.stopping import is_at_work
from .colours import forget_classes
from .comparison import list_comparisons, undo_comparison
from .journal import begun, note
from .name_drafts import forget_draft
from .overlays import list_overlays, remove_overlay
from .ownership import (
    RunFolder,
    detach,
    folder_of,
    ids_of_others,
    ids_of_run,
    is_own,
    is_trusted,
    remove_files,
    replacing_folder,
)
from .record import RunRecord, read_record
from .views import delete_views

if TYPE_CHECKING:
    from fiftyone import Dataset

__all__ = ["Undone", "drop_replacement", "refuse_at_work", "undo_run"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Undone:
    """What :func:`fiftyone_plugin.undo` did.

    Attributes:
        key: key of the run.
        kept: what was left, and why, a sentence each; empty where all that the run made is gone.
    """

    key: str
    kept: tuple[str, ...] = ()


def refuse_at_work(dataset: Dataset, record: RunRecord) -> None:
    """Refuse to take a run away from the process that labels at this moment.

    Raises:
        UsageError: there is one.
    """
    if any(is_own(dataset, run) and is_at_work(Path(run.out)) for run in _folders(record)):
        raise UsageError(f"run {record.key!r} is at work: stop it, or wait for it, before it is deleted")


def undo_run(dataset: Dataset, key: str) -> Undone:
    """Remove what a run of this package made; called again after it was cut short, it goes on."""
    record = read_record(dataset, key)
    kept = []
    with begun(dataset, key, "undo"):
        if record is None:
            kept.append(f"the record of run {key!r} is not one that this package wrote: all else stays")
        else:
            for comparison in list_comparisons(dataset, record.field):
                undo_comparison(dataset, comparison.key)
            for overlay in list_overlays(dataset, record.field):
                remove_overlay(dataset, overlay.name)
            delete_views(dataset, key)
            forget_draft(dataset, record)
            kept += _remove_fields(dataset, record)
            kept += [remove_files(dataset, run, key) for run in _folders(record)]
        dataset.delete_run(key)
    kept = list(filter(None, kept))
    for sentence in kept:
        logger.warning("%s", sentence)
    return Undone(key, tuple(kept))


def _folders(record: RunRecord) -> list[RunFolder]:
    folders = [folder_of(record)]
    if "remove" in record.pending:
        folders.insert(0, RunFolder.of(record.pending["remove"]))
    if "replace" in record.pending:
        folders.insert(0, replacing_folder(record.pending["replace"]))
    return folders


def _remove_fields(dataset: Dataset, record: RunRecord) -> list[str]:
    if not is_trusted(dataset, record):
        names = [name for name in record.fields if dataset.has_sample_field(name)]
        if not names:
            return []
        why = f"the run's record comes from elsewhere, and {record.out} does not hold that run"
        return [f"the fields {', '.join(names)} stay: {why}"]
    outs = [run.out for run in _folders(record)]
    others = ids_of_others(dataset, record.field, outs, own=is_own(dataset, folder_of(record)))
    detach(dataset, record.field, others, outs)
    kept = [name for name in record.fields if name not in record.created_fields]
    values = dict.fromkeys(ids_of_run(dataset, record))
    for name in kept:
        if values and dataset.has_sample_field(name):
            all_samples(dataset).set_values(name, values, key_field="id")
    if others:
        kept.append(record.field)
        ours = dict.fromkeys(set(all_samples(dataset).exists(record.field).values("id")) - others)
        if ours:
            all_samples(dataset).set_values(record.field, ours, key_field="id")
    for name in record.created_fields:
        if name not in kept and dataset.has_sample_field(name):
            if name in dataset.list_indexes():
                dataset.drop_index(name)
            dataset.delete_sample_field(name)
    if record.field in dataset.mask_targets and record.field not in kept:
        forget_classes(dataset, record.field)
    stay = f"{len(others)} labels in {record.field!r} stay: they were not written by a run"
    return [stay] if others else []


def drop_replacement(dataset: Dataset, key: str) -> None:
    """Forget a run that was to replace the one of ``key`` and is not complete, with its files."""
    record = read_record(dataset, key)
    step = record.pending.get("replace") if record is not None else None
    if step is not None and not step.get("writing"):
        remove_files(dataset, replacing_folder(step), key)
        note(dataset, key, replace=None)
