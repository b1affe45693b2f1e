"""Shard files: raw bytes of many arrays, written once, then only read through memory maps."""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ..errors import UsageError
from .index import ArrayRow

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "PartialShard",
    "ShardMaps",
    "list_shards",
    "remove_dead_partials",
    "touch_shard",
    "used_by_this_process",
]

SUFFIX = ".bin"
PARTIAL_SUFFIX = ".bin.partial"
ALIGNMENT = 64
ABANDONED_AFTER_S = 24 * 3600.0

_used: set[str] = set()
_used_lock = threading.Lock()


class PartialShard:
    """A shard that is being written.

    While it grows it is called ``*.partial`` and its writer holds an exclusive ``flock`` on it. The kernel
    drops that lock when the writer ends, however it ends, so whoever can take the lock knows that the writer
    is dead: unlike a process id in the file name, a lock is not fooled by re-used ids, containers or other
    hosts on a shared disk. It works on Linux and macOS alike; Windows does not remove an open file anyway.

    Attributes:
        name: file name of the finished shard.
        size: bytes that belong to whole images.
        images: number of whole images.
        rows: where the arrays of those images lie.
        done: publishing or discarding it has begun, so that neither may be tried again.
    """

    def __init__(self, folder: Path) -> None:
        self.name = f"{time.time_ns():x}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        self._final = folder / self.name
        self._partial = folder / self.name.replace(SUFFIX, PARTIAL_SUFFIX)
        self.size = 0
        self.images = 0
        self.rows: list[ArrayRow] = []
        self.done = False
        self._file = open(self._partial, "xb")  # noqa: SIM115 - open for the life of this object
        _try_lock(self._file.fileno())

    def append(self, digest: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the arrays of one image; if that is interrupted, what was written of it does not count.

        Raises:
            OSError: the disk is full, or the file cannot be written.
        """
        self._file.seek(self.size)
        end = self.size
        rows: list[ArrayRow] = []
        for layer, array in arrays.items():
            padding = -end % ALIGNMENT
            data = _little_endian_bytes(array)
            self._file.write(b"\0" * padding)
            self._file.write(data)
            dtype, offset = array.dtype.newbyteorder("<").str, end + padding
            number = len(self.rows) + len(rows)
            rows.append(ArrayRow(digest, layer, number, offset, dtype, array.shape, zlib.crc32(data)))
            end = offset + data.nbytes
        self.size = (
            end  # first: after an interrupt here the bytes are dead, rows without bytes would be wrong
        )
        self.rows.extend(rows)
        self.images += 1

    def seal(self) -> None:
        """Cut what is no whole image and bring the bytes to the disk; may be repeated."""
        self._file.flush()
        self._file.truncate(self.size)
        os.fsync(self._file.fileno())

    def publish(self) -> None:
        """Give the sealed file its final name and close it."""
        self.done = True
        if os.name == "nt":  # Windows renames closed files only
            self._file.close()
        os.replace(self._partial, self._final)
        self._file.close()
        _sync_folder(self._final.parent)
        touch_shard(self._final)

    def discard(self) -> None:
        """Remove the file, under either name."""
        self.done = True
        with contextlib.suppress(OSError):  # closing flushes, which a full disk refuses
            self._file.close()
        for path in (self._partial, self._final):
            with contextlib.suppress(OSError):
                path.unlink()


def _little_endian_bytes(array: np.ndarray) -> memoryview:
    """Return the C-ordered bytes of ``array``.

    Raises:
        UsageError: not an array of booleans, integers or floats of at most 64 bits.
    """
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise UsageError(f"the feature store holds numbers and booleans up to 64 bits, not {array.dtype}")
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return plain.reshape(-1).view(np.uint8).data


def _try_lock(descriptor: int) -> bool | None:
    """Lock without waiting: True, or False if another holds it, or None where locks do not work."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems
        return None
    return True


def remove_dead_partials(folder: Path) -> int:
    """Remove unfinished shards whose writer is gone; return how many. Those of live writers stay."""
    removed = 0
    for path in folder.glob(f"*{PARTIAL_SUFFIX}"):
        with contextlib.suppress(OSError):  # gone meanwhile; or, on Windows, open in a live writer
            if fcntl is None or _writer_is_dead(path):
                path.unlink()
                removed += 1
    return removed


def _writer_is_dead(path: Path) -> bool:
    with open(path, "rb") as file:
        locked = _try_lock(file.fileno())
        if locked is None:
            return time.time() - os.fstat(file.fileno()).st_mtime > ABANDONED_AFTER_S
        return locked


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system offers that."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def list_shards(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the finished shards in ``folder``; none if it does not exist."""
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if entry.name.endswith(SUFFIX))
    except FileNotFoundError:
        return


def touch_shard(path: Path) -> None:
    """Note that this process uses a shard: its modification time is when it was last used.

    The file is touched once a process, however often it is used.
    """
    with _used_lock:
        if path.name in _used:
            return
        _used.add(path.name)
    with contextlib.suppress(OSError):
        os.utime(path)


def used_by_this_process(name: str) -> bool:
    """Tell whether :func:`touch_shard` was called in this process for the shard of that, unique, name."""
    with _used_lock:
        return name in _used


class ShardMaps:
    """Memory maps of the most recently read shards of one folder; safe for threads.

    A map that falls out of the list is closed when the last array that looks into it is gone.
    """

    def __init__(self, folder: Path, limit: int = 4) -> None:
        self._folder = folder
        self._limit = limit
        self._maps: OrderedDict[str, mmap.mmap] = OrderedDict()
        self._lock = threading.Lock()

    def array(self, row: ArrayRow) -> np.ndarray:
        """Return the array at ``row`` as a read-only view into the mapped file.

        Raises:
            FileNotFoundError: the shard is gone.
            ValueError: the shard is too short.
        """
        dtype = np.dtype(row.dtype)
        count = int(np.prod(row.shape, dtype=np.int64))
        if count == 0:
            empty = np.empty(row.shape, dtype)
            empty.flags.writeable = False
            return empty
        return np.frombuffer(self._map(row.shard), dtype, count, row.offset).reshape(row.shape)

    def _map(self, name: str) -> mmap.mmap:
        with self._lock:
            if name not in self._maps:
                touch_shard(self._folder / name)
                with open(self._folder / name, "rb") as file:
                    self._maps[name] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                if len(self._maps) > self._limit:
                    self._maps.popitem(last=False)
            self._maps.move_to_end(name)
            return self._maps[name]

    def clear(self) -> None:
        """Forget all maps."""
        with self._lock:
            self._maps.clear()
