"""Which runs can be edited from a dataset, by whom at a time, and which files may go with an edit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...common.files import remove_empty, remove_inside, remove_partials
from ...common.locks import Busy, FileLock
from ...errors import PseudoMaskError, UsageError
from ..keys import METHOD, reserved_fields, run_key
from ..ownership import folder_of, is_own, shown_by
from ..record import read_record

__all__ = ["folder_to_edit", "locked", "remove_masks"]


def folder_to_edit(dataset: Any, field: str) -> Path:
    """Return the folder of the finished run that fills a field.

    Raises:
        UsageError: there is none, or the run was made in another dataset: an edit writes to its folder, and
            its samples there would not know.
    """
    record = read_record(dataset, run_key(field))
    if record is None or not record.is_complete:
        finished = reserved_fields(dataset.list_runs(method=METHOD, status="complete"))
        raise UsageError(f"no finished run fills {field!r}; there are: {', '.join(finished) or 'none'}")
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
def locked(folder: Path, field: str) -> Iterator[None]:
    """Keep other processes from editing a field; the lock's file stays, for others may wait for it.

    Args:
        folder: the folder of edits in that of the run.
        field: the mask field.

    Raises:
        PseudoMaskError: another process edits it, or the folder cannot be written.
    """
    if not folder.parent.is_dir():
        raise PseudoMaskError(f"cannot write to {folder}: no such folder; edits need the folder of the run")
    lock = FileLock(folder / "lock")
    try:
        lock.acquire()
    except Busy as error:
        raise PseudoMaskError(f"another edit of {field!r} is being written; wait for it") from error
    except OSError as error:
        raise PseudoMaskError(
            f"cannot write to {folder}: {error.strerror or error}; edits need the folder of the run"
        ) from error
    try:
        yield
    finally:
        lock.release()


def remove_masks(dataset: Any, folder: Path, names: Iterable[str]) -> None:
    """Remove the masks of an edit that was taken back; they stay where a copy of the field shows them.

    Args:
        dataset: the dataset, whose samples show other files by now.
        folder: folder of the masks of the edit.
        names: names of the run's masks: an edit writes no other.
    """
    remove_partials(folder)
    if shown_by(dataset, str(folder)):
        return
    for name in names:
        remove_inside(folder, name)
    remove_empty(folder)
