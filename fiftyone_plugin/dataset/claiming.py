"""Fields and a folder for a new run; nothing of an earlier run changes before the new one is complete."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..runs.config import ENGINE_SETTINGS
from ..runs.folder import RunDirectory
from .database import dataset_id
from .journal import note, refuse_if_busy
from .keys import METHOD, run_key
from .ownership import folder_of, is_own, is_trusted, replacing_folder
from .record import RUNNING, RunFields, RunRecord, read_record, save_record
from .undoing import drop_replacement, refuse_at_work, undo_run

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection as View

    from ..runs.config import LabelConfig
    from ..runs.labels import GivenLabels

__all__ = ["asked_for", "claim", "default_out"]

MAX_STAGES = 1 << 16  # characters of a view that is noted in a record
# no mask depends on them
RESOURCES = ("device", "batch_size", "jobs", "cache", "cache_limit", "preset", *ENGINE_SETTINGS)


def default_out(dataset: Dataset, field: str, run_id: str = "") -> Path:
    """Return where masks go if the caller names no folder: below FiftyOne's default dataset folder.

    Every run, by its ``run_id``, has a folder of its own, so that a dataset that is made again under an old
    name never meets old masks. Masks that are no run have one without an id.
    """
    import fiftyone as fo

    name = f"{field}-{run_id[:8]}" if run_id else field
    return Path(fo.config.default_dataset_dir) / METHOD / dataset._dataset.slug / name


def asked_for(config: LabelConfig, model: str | Path | None, labels: GivenLabels | None = None) -> str:
    """Return what a caller asks for, as text to compare."""
    wanted = {name: value for name, value in vars(config).items() if name not in RESOURCES}
    if labels is not None:
        wanted["labels"] = labels.sha256
    return json.dumps({**wanted, "model": str(model or "")}, sort_keys=True, default=str)


def claim(
    dataset: Dataset,
    field: str,
    out: str | Path | None,
    *,
    overwrite: bool,
    restart: bool,
    asked: str = "",
    view: View | None = None,
    taught: Mapping[str, object] | None = None,
) -> tuple[RunRecord, bool]:
    """Reserve fields and folder for a run, or take up an unfinished one; recorded before anything is written.

    The arguments are those of :func:`~.labelling.label_dataset`, with what the caller ``asked`` for, see
    :func:`asked_for`, for which ``view``, and by which labels it is ``taught``: all this is noted for
    :func:`~.resuming.resume_run`.

    Returns:
        The record, and whether the run is a new one. If it replaces a finished run, that one's record stays
        in the database.

    Raises:
        UsageError: a field or the folder is taken.
    """
    key = run_key(field)
    refuse_if_busy(dataset, key)
    record = read_record(dataset, key)
    if record is None and dataset.has_run(key):
        raise UsageError(
            f"{dataset.name!r} has a run {key!r} whose record this package did not write: choose another "
            f"field name, or delete that run first"
        )
    if record is not None and not record.is_complete:
        if is_own(dataset, folder_of(record)) and not restart:
            return record, False
        refuse_at_work(dataset, record)
        undo_run(dataset, key)
        record = None
    if record is not None:
        taken_up = _replacement(dataset, record, restart=restart)
        if taken_up is not None:
            return taken_up, False
        _check_replaceable(dataset, record, overwrite=overwrite)
    created = _check_fields(dataset, field, record, overwrite=overwrite)
    run_id = uuid.uuid4().hex
    folder = Path(os.path.abspath(out)) if out is not None else default_out(dataset, field, run_id)
    _check_folder(folder, record)
    stages = json.dumps(view.view()._serialize(include_uuids=False) if view is not None else [])
    if len(stages) > MAX_STAGES:  # too many ids for a record
        stages = ""
    new = RunRecord(
        field=field,
        out=str(folder),
        fields=RunFields(field).all,
        created_fields=created,
        status=RUNNING,
        dataset_id=dataset_id(dataset),
        run_id=run_id,
        pending={"label": {"asked": asked, "view": stages, "taught": json.dumps(taught, default=str)}},
    )
    if record is None:
        save_record(dataset, new)
    else:
        step = {"out": new.out, "run_id": run_id, "dataset_id": new.dataset_id, "asked": asked}
        note(dataset, key, replace={**step, "created_fields": created})
    return new, True


def replacement(record: RunRecord) -> RunRecord:
    """Return the run that is to replace a finished one, as that one's record notes it."""
    step = record.pending["replace"]
    return RunRecord(
        field=record.field,
        out=str(step["out"]),
        fields=record.fields,
        created_fields=[name for name in record.fields if name in step["created_fields"]],
        status=RUNNING,
        dataset_id=str(step["dataset_id"]),
        run_id=str(step["run_id"]),
    )


def _replacement(dataset: Dataset, record: RunRecord, *, restart: bool) -> RunRecord | None:
    """Return the unfinished replacement of a run; one of another dataset, or unwanted, is forgotten."""
    step = record.pending.get("replace")
    if step is None:
        return None
    own = is_own(dataset, replacing_folder(step))
    if step.get("writing") or (own and not restart):
        return replacement(record)
    refuse_at_work(dataset, record)
    drop_replacement(dataset, record.key)
    return None


def _check_replaceable(dataset: Dataset, record: RunRecord, *, overwrite: bool) -> None:
    if not overwrite:
        raise UsageError(
            f"field {record.field!r} was filled by run {record.key!r}: choose another field name, or "
            f"overwrite=True to replace it"
        )
    if not is_trusted(dataset, record):
        raise UsageError(
            f"the record of run {record.key!r} comes from elsewhere, so what is in {record.field!r} is not "
            f"overwritten: choose another field name"
        )


def _check_fields(dataset: Dataset, field: str, record: RunRecord | None, *, overwrite: bool) -> list[str]:
    """Return the fields that the run makes; those of other origin are refused before anything is done."""
    schema, fields = dataset.get_field_schema(), RunFields(field)
    existing = [name for name in fields.all if name in schema]
    created = record.created_fields if record is not None else []
    foreign = [name for name in existing if name not in created]
    if field in foreign:
        raise UsageError(
            f"field {field!r} exists and was not filled by a run of this plugin, so it is not overwritten: "
            f"choose another field name"
        )
    unfit = fields.unfit(schema)
    if unfit:
        raise UsageError(
            f"field {unfit[0]!r} exists and holds something else than a run writes there: choose another "
            f"field name than {field!r}, or rename {unfit[0]!r}"
        )
    if foreign and not overwrite:
        raise UsageError(f"field {foreign[0]!r} exists: choose another field name, or overwrite=True")
    return [name for name in fields.all if name not in foreign]


def _check_folder(folder: Path, record: RunRecord | None) -> None:
    """Refuse a folder that holds a run: its masks are of other images, or are still shown."""
    if record is not None and os.path.realpath(folder) == os.path.realpath(record.out):
        raise UsageError(
            f"{folder} holds the masks that are to be replaced, which stay until the new ones are complete: "
            f"choose another folder, or name none"
        )
    if RunDirectory(folder).read_run() is not None:
        raise UsageError(f"{folder} holds a run already: choose another folder, or name none for a new one")
