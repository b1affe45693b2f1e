"""A finished run is replaced when the new one is finished: written aside, then moved in its place.

The new run lies in ``.work/next`` of the old one's folder. The exchange is a list of small steps, each of
which may be done twice: a note says which half has begun, so that whoever opens the folder after a kill in
the middle finishes it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ..common.files import remove_empty, require_inside, write_json
from ..common.untrusted import read_json
from ..errors import UsageError
from .record import RunDocument

__all__ = ["NEXT", "NOTE", "discard_next", "finish_exchange", "is_exchange_begun"]

NEXT = "next"
NOTE = "exchange.json"
REMOVING, MOVING = "removing the old run", "moving the new run"


class _Folder(Protocol):
    """What the exchange asks of the folder of a run."""

    root: Path
    work: Path

    def read_run(self) -> RunDocument | None: ...

    def remove_outputs(self) -> None: ...


def is_exchange_begun(work: Path) -> bool:
    """Tell whether an exchange was begun and not finished, in the working folder of a run."""
    return (work / NOTE).is_file()


def finish_exchange(directory: _Folder, new: _Folder) -> None:
    """Put a finished run in the place of the old one, from wherever that was interrupted; the lock is held.

    Nothing is done unless the new run is finished; it lies in the old one's working folder.

    Raises:
        UsageError: a path leads out of the folder, or the new run is a link.
        OSError: a file cannot be moved; called again it goes on.
    """
    _refuse_link(new.root)
    note = directory.work / NOTE
    if not _is_moving(note):
        document = new.read_run()
        if document is None or not document.is_complete:
            if note.exists():
                note.unlink(missing_ok=True)
            return
        write_json(note, {"step": REMOVING})
        directory.remove_outputs()
        write_json(note, {"step": MOVING})
    _move(new.root, directory.root)
    discard_next(new)
    note.unlink(missing_ok=True)


def discard_next(new: _Folder) -> None:
    """Remove a run that was to replace another, and its folder if nothing of others is in it.

    Raises:
        UsageError: it is a link, or its lists cannot be read.
    """
    _refuse_link(new.root)
    if new.root.is_dir():
        new.remove_outputs()
        remove_empty(new.root)


def _refuse_link(folder: Path) -> None:
    if folder.is_symlink():
        raise UsageError(f"{folder} is a link, which no run of this command makes; remove it")


def _is_moving(note: Path) -> bool:
    try:
        document = read_json(note, what="a note of this package")
    except UsageError:  # none, or damaged: as if it had not begun
        return False
    return isinstance(document, dict) and document.get("step") == MOVING


def _move(source: Path, target: Path) -> None:
    """Move the files of a run; its record comes last, it tells that all others are there."""
    record = source / "run.json"
    for parent, folders, names in os.walk(source):
        if Path(parent) == source:
            folders[:] = [name for name in folders if name != ".work"]
        for name in names:
            path = Path(parent, name)
            if path != record and not path.is_symlink():
                _move_file(path, target, path.relative_to(source).as_posix())
    if record.is_file() and not record.is_symlink():
        _move_file(record, target, record.name)


def _move_file(path: Path, root: Path, name: str) -> None:
    target = require_inside(root, name, "the new run")
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):  # moved already
        os.replace(path, target)
