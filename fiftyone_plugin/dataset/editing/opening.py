"""Which runs can be edited from a dataset, by whom at a time; and taking the last edit back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ...common.locks import Busy, hold
from ...errors import PseudoMaskError, UsageError
from ...runs.cleaning import EDITS
from ..database import database_errors, refresh
from ..journal import refuse_if_busy
from ..keys import run_key
from ..ownership import folder_of, is_own
from ..record import finished_run
from ..recovery import recover
from .history import Edit
from .run import EditableRun

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection as View

__all__ = ["editing", "undo_edit"]


def _folder_to_edit(dataset: Dataset, field: str) -> Path:
    """Return the folder of the finished run that fills a field.

    One of another dataset is refused: an edit writes to its folder, and its samples there would not know.
    """
    record = finished_run(dataset, field)
    if not is_own(dataset, folder_of(record)):
        raise UsageError(
            f"the masks of {field!r} belong to the dataset that {dataset.name!r} was copied from, or their "
            f"run is gone: edit them there, or label this dataset anew, into another field or with "
            f"overwrite=True"
        )
    if not dataset.has_sample_field(field):
        raise UsageError(
            f"field {field!r} was deleted, its run is still there: delete run {record.key!r}, or label anew "
            f"with overwrite=True"
        )
    return Path(record.out)


@contextmanager
def _locked(folder: Path, field: str) -> Iterator[None]:
    """Keep other processes from editing a field; the lock's file stays, for others may wait for it."""
    if not folder.parent.is_dir():
        raise PseudoMaskError(f"cannot write to {folder}: no such folder; edits need the folder of the run")
    with ExitStack() as held:
        try:
            held.enter_context(hold(folder / "lock"))
        except Busy as error:
            raise PseudoMaskError(f"another edit of {field!r} is being written; wait for it") from error
        except OSError as error:
            raise PseudoMaskError(
                f"cannot write to {folder}: {error.strerror or error}; edits need the folder of the run"
            ) from error
        yield


@contextmanager
def editing(samples: View, field: str) -> Iterator[EditableRun]:
    """Open the finished run that fills ``field`` and keep other processes from editing it meanwhile.

    What a crash has left of an earlier edit is taken back first.

    Raises:
        UsageError: no finished run fills the field, or its masks belong to another dataset.
        PseudoMaskError: another edit is being written, or the run's folder cannot be written.
        MissingDependencyError: FiftyOne's database does not answer.
    """
    dataset = samples._dataset
    with database_errors("Once it does, the next edit takes back what this one has begun"):
        recover(dataset)
        out = _folder_to_edit(dataset, field)
        with _locked(out / EDITS, field):
            refresh(dataset)
            refuse_if_busy(dataset, run_key(field))
            run = EditableRun(dataset, field, out)
            run.recover()
            yield run


def undo_edit(samples: View, field: str, number: int | None = None) -> Edit:
    """Take the last edit of a run back, and return it: samples show the masks before it again, byte for byte.

    Mask targets, lists of classes and coverage follow. Calling it again takes back the edit before; where
    a call was cut short by a crash, the next one completes it and takes nothing else back. With a ``number``,
    the last edit has to be that one.

    Raises:
        UsageError: no finished run fills ``field``, no edit is left, or the last one has another number.
        PseudoMaskError: another edit is being written.
    """
    with editing(samples, field) as run:
        if run.carried_on:
            return run.carried_on[-1]
        last = run.applied[-1].number if run.applied else number
        if number not in (None, last):
            raise UsageError(
                f"edit {number} of {field!r} is not the last one, edit {last} is: take that back first"
            )
        return run.undo_last()
