"""Locks between processes: the operating system's, gone with the process that held them, however it ended."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import UsageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Busy", "FileLock", "hold", "is_held"]

INTERVAL_S = 0.02
_BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class Busy(UsageError):
    """Another process, or another lock object of this one, holds the lock."""


class FileLock:
    """An exclusive lock that a file stands for.

    A lock file that its holder removes is a trap: who opened it before waits for a file that nobody else will
    ever open, and both that one and the next to make the file hold "the" lock. So whoever gets the lock looks
    whether the path still names the file that it has locked, and else begins anew; a file is only removed by
    its holder.

    Args:
        path: the file; made with its folders when the lock is taken.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, timeout: float = 0.0) -> None:
        """Take the lock, waiting for up to ``timeout`` seconds.

        Raises:
            Busy: it is held all the time.
            OSError: the file cannot be made or locked.
        """
        end = time.monotonic() + timeout
        while not self._try():
            if time.monotonic() >= end:
                raise Busy(f"{self.path} is held by another process")
            time.sleep(INTERVAL_S)

    def _try(self) -> bool:
        for _ in range(100):  # each time somebody has removed the file, or its folder, at this moment
            if (descriptor := self._open()) is None:
                continue
            try:
                if not _lock(descriptor, shared=False):
                    return False
                if _is_file_of(descriptor, self.path):
                    self._descriptor = descriptor
                    return True
            finally:
                if self._descriptor != descriptor:
                    os.close(descriptor)
        return False

    def _open(self) -> int | None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        except FileNotFoundError:
            return None
        except FileExistsError:
            with suppress(FileNotFoundError):
                if not stat.S_ISDIR(os.lstat(self.path.parent).st_mode):  # a file stands there
                    raise
            return None
        except PermissionError:
            if os.name == "nt" and self.path.parent.is_dir():  # its holder is removing it
                return None
            raise

    def __del__(self) -> None:
        self.release()

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back; nothing where it is not held.

        To ``remove`` the file too is sound, unless somebody uses it with other code than this.
        """
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            if remove and os.name != "nt":
                with suppress(OSError):
                    self.path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)  # this unlocks it
        if remove and os.name == "nt":  # Windows removes no file that anybody has open
            with suppress(OSError):
                self.path.unlink(missing_ok=True)


@contextmanager
def hold(path: Path, timeout: float = 0.0, *, remove: bool = False) -> Iterator[None]:
    """Hold the lock of a file in a ``with`` block, see :class:`FileLock`; ``remove`` it at the end.

    Raises:
        Busy: another process holds it all the time.
        OSError: the file cannot be made or locked.
    """
    lock = FileLock(path)
    lock.acquire(timeout)
    try:
        yield
    finally:
        lock.release(remove=remove)


def is_held(path: Path) -> bool:
    """Tell whether somebody holds the lock at this moment; the file is neither made nor changed.

    Whoever asks shares the lock for some microseconds, which others that ask do not notice, and which who
    takes it with a ``timeout`` above zero waits out.
    """
    try:
        # for writing where that is allowed: some systems lock no file that is open for reading only
        descriptor = os.open(path, os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _lock(descriptor, shared=True)
    except OSError:  # no locks on this file system, so nobody holds one
        return False
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, shared: bool) -> bool:
    """Lock without waiting; return whether that went well."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True


def _is_file_of(descriptor: int, path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False
