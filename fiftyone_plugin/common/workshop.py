"""The hidden folder beside a target in which its next content is made, and what a kill leaves of it.

The folder is called after the target, so that there is one for each target. It holds ``lock``, which the
process that works in it keeps locked and the system unlocks when that process ends however it ends, and

* ``new``: the content that is being written, or behind an exchange what was in the target before;
* ``old``: what was in the target, between the two renames of a system that has no exchange;
* ``trash``: on its way out.

Whoever comes next, to write or to read, calls :func:`settle`: it leaves alone the folder of a living
process, else puts ``old`` back where the target is missing, and removes the folder. A folder that holds
anything else is not one of these and is left alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

from ..errors import UsageError
from .locks import Busy, FileLock

__all__ = ["LOCK", "Busy", "Workshop", "settle", "workshop_path"]

LOCK = "lock"
OURS = frozenset({LOCK, "new", "old", "trash"})


def workshop_path(target: Path) -> Path:
    """Return the hidden folder of a target, beside it; of a link, beside what it leads to."""
    real = Path(os.path.realpath(target))
    digest = hashlib.sha256(os.fsencode(os.path.normcase(real.name))).hexdigest()
    return real.parent / f".pseudomask-{digest[:16]}.partial"


def settle(path: str | os.PathLike[str]) -> None:
    """Put right what a killed export or import left at a target, or around; call it before reading there."""
    with suppress(OSError, ValueError):  # not ours to complain: whoever reads will
        target = Path(os.path.abspath(path))
        for candidate in (target, *target.parents):
            workshop = Workshop(candidate)
            if workshop.path.is_dir() and workshop.is_ours():
                with suppress(Busy):
                    workshop.acquire()
                    workshop.close()


class Workshop:
    """The hidden folder of one target, locked by this process between :meth:`acquire` and :meth:`close`.

    Attributes:
        target: the real path of the target.
        path: the folder.
        new: where the next content of the target is made.
        old: where the content of the target is while it has none.
    """

    def __init__(self, target: Path) -> None:
        self.target = Path(os.path.realpath(target))
        self.path = workshop_path(target)
        self.new, self.old = self.path / "new", self.path / "old"
        self._lock = FileLock(self.path / LOCK)
        self._held = False

    def is_ours(self) -> bool:
        """Tell whether the folder holds nothing but what is made here."""
        with suppress(FileNotFoundError):  # not made yet, or removed by another process
            return set(os.listdir(self.path)) <= OURS and not self.path.is_symlink()
        return True

    def acquire(self) -> None:
        """Make and lock the folder, and put right what a killed process left in it.

        Raises:
            Busy: a living process works in it.
            UsageError: it is somebody else's.
            OSError: the file system refuses.
        """
        try:
            if not self.is_ours():
                raise UsageError(f"{self.path} holds files of somebody else; move it away")
            self._lock.acquire()
        except OSError:
            with suppress(OSError):
                os.rmdir(self.path)  # only if it is empty
            raise
        self._held = True
        if os.path.lexists(self.old) and not os.path.lexists(self.target):
            os.rename(self.old, self.target)
        self._clear()

    def _clear(self) -> None:
        """Remove all but the lock. ``old`` is renamed first: half of it must never be put back."""
        if os.path.lexists(self.old):
            _remove(self.path / "trash")
            os.rename(self.old, self.path / "trash")
        for name in ("trash", "new"):
            _remove(self.path / name)

    def close(self) -> None:
        """Remove the folder and unlock it; what cannot be removed now is removed by the next command."""
        if not self._held:
            return
        self._held = False
        empty = False
        try:
            with suppress(OSError):
                self._clear()
            with suppress(OSError):
                empty = os.listdir(self.path) == [LOCK]
        finally:
            self._lock.release(remove=empty)  # a folder with content and no lock would be nobody's
        with suppress(OSError):
            os.rmdir(self.path)


def _remove(path: Path) -> None:
    """Remove a folder, or a link to one, that may not be there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
