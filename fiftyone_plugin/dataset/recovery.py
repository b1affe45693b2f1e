"""What a sudden end has left of a change to a dataset is finished, or taken back, by the next one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .claiming import replacement
from .comparison import COMPARISON_METHOD, is_comparison, undo_comparison
from .database import refresh, remove_orphans
from .journal import is_alive, note, pending
from .keys import METHOD
from .ownership import is_trusted
from .record import plain, read_record, stored, update_record
from .undoing import undo_run
from .views import follow_classes
from .writeback import conclude, load_result, rows_by_path, write_run

if TYPE_CHECKING:
    import fiftyone.core.fields as fof
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection as View

__all__ = ["PENDING", "recover"]

PENDING = "pseudomask_pending"
"""In the info of a field: it is being filled."""


def recover(samples: View, *, labelling: str = "") -> set[str]:
    """Finish or take back what the records of a dataset say was begun, unless somebody is still at it.

    ``labelling`` is the key of a run that the caller goes on to write. Returned are the keys of runs and
    comparisons whose deletion this has completed.
    """
    dataset = samples._dataset
    refresh(dataset)
    gone = set(remove_orphans(dataset))
    for key in [*dataset.list_runs(method=COMPARISON_METHOD), *dataset.list_runs(method=METHOD)]:
        steps = pending(dataset, key) if dataset.has_run(key) else {}  # a comparison goes with its run
        busy = any(map(is_alive, steps.values()))
        if steps and not busy and _is_ours(dataset, key) and _finish(dataset, key, steps, labelling):
            gone.add(key)
    for name, field in dataset.get_field_schema().items():
        if is_unfinished(field):
            dataset.delete_sample_field(name)
    return gone


def is_unfinished(field: fof.Field) -> bool:
    """Return whether a field was declared by something that has not filled it and is not at work."""
    info = plain(getattr(field, "info", None) or {})
    step = info.get(PENDING) if isinstance(info, dict) else None
    return step is not None and not is_alive(step)


def _is_ours(dataset: Dataset, key: str) -> bool:
    """Return whether what a record says may be acted upon; a stranger's may say anything."""
    if is_comparison(dataset, key):
        return True
    record = read_record(dataset, key)
    return record is not None and is_trusted(dataset, record)


def _finish(dataset: Dataset, key: str, steps: dict[str, dict[str, Any]], labelling: str) -> bool:
    """Carry on with one record; returns whether it is gone."""
    if is_comparison(dataset, key):
        undo_comparison(dataset, key)
        return "undo" in steps
    if "undo" in steps:
        undo_run(dataset, key)
        return True
    if (steps.get("replace") or {}).get("writing") and key != labelling:
        _finish_replacing(dataset, key)
        steps = pending(dataset, key)
    if "detections" in steps:
        _forget_detections(dataset, key, str(steps["detections"].get("into")))
    conclude(dataset, key)
    if "rare" in steps:
        follow_classes(dataset, key, str(steps["rare"].get("name")))
        note(dataset, key, rare=None)
    return False


def _finish_replacing(dataset: Dataset, key: str) -> None:
    record = read_record(dataset, key)
    if record is None:
        return
    new = replacement(record)
    try:
        result = load_result(Path(new.out))
    except (UsageError, OSError):  # its folder is not within reach: whoever labels again goes on
        return
    write_run(dataset, new, result, rows_by_path(dataset, result))


def _forget_detections(dataset: Dataset, key: str, into: str) -> None:
    """Take back a field of detections that is not filled."""
    import fiftyone as fo

    known = stored(dataset, key, "detections") or {}
    if into in known and into in dataset.get_field_schema(embedded_doc_type=fo.Detections):
        dataset.delete_sample_field(into)
    known.pop(into, None)
    update_record(dataset, key, detections=known)
    note(dataset, key, detections=None)
