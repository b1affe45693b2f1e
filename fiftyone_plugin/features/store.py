"""The feature store on disk: a file an image, whole or not there, checked when it is read, bounded in size.

One store holds the features of one *spec* (backbone, weights, precision, input size), in
``<cache>/features/<hash of the spec>``::

    spec.json                   the spec, for people
    <2 digits>/<digest>.safetensors
                                the layers of one image, with a checksum of each

Files appear by a rename, so a kill loses the image that was being written and nothing else. A file that is
damaged counts as not there. The time of a file's change is when a process last began to use it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..common.files import atomic
from ..common.paths import CACHE_ENV
from ..errors import UsageError
from .cache import FEATURES_FOLDER, SPEC_NAME, file_of, layers_of, list_files, read_header

__all__ = ["FeatureStore", "cannot_be_written", "spec_hash"]

logger = logging.getLogger(__name__)

_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC)
_began = time.time_ns()  # of this process: files that were used since stay
_NAMES = {"|b1": "BOOL"} | {
    f"{'|' if size == 1 else '<'}{kind}{size}": f"{kind.upper()}{8 * size}"
    for kind, sizes in (("f", (2, 4, 8)), ("i", (1, 2, 4, 8)), ("u", (1, 2, 4, 8)))
    for size in sizes
}
_TYPES = {name: kind for kind, name in _NAMES.items()}
LOOK_AGAIN = 20  # the cache is measured again whenever this part of its limit was written


def spec_hash(spec: Mapping[str, object]) -> str:
    """Return the first 16 hex digits of the sha256 of the spec's canonical JSON: the name of its folder."""
    canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def cannot_be_written(error: BaseException | None) -> bool:
    """Tell whether a cache fails because its disk is full, read-only or closed to this user.

    Not so where the folder was named by mistake, e.g. is a file: then somebody should hear of it.
    """
    return isinstance(error, OSError) and error.errno in _UNWRITABLE


class FeatureStore:
    """Arrays by (image digest, layer name), for one feature spec.

    Several threads may use one object, and several processes the same folder, each with its own object.
    Nothing is kept open and nothing in memory, so there is nothing to close.

    Args:
        directory: the cache folder; the store lies below it.
        spec: what identifies the features, JSON-serialisable.
        limit_bytes: largest size of the stored features of all specs together; ``None``: no limit.

    Attributes:
        path: the folder of this store.
        full: nothing more is stored, because of the limit or of a disk that cannot be written. Reading goes
            on.

    Raises:
        UsageError: the folder cannot be used.
    """

    def __init__(
        self, directory: str | os.PathLike[str], spec: Mapping[str, object], limit_bytes: int | None
    ) -> None:
        self.cache = Path(directory).absolute()
        self.spec = dict(spec)
        self.limit_bytes = limit_bytes
        self.path = self.cache / FEATURES_FOLDER / spec_hash(spec)
        self.full = False
        self._lock = threading.Lock()
        self._room = _Room(self.cache, limit_bytes) if limit_bytes is not None else None
        try:
            self._make_folder()
        except OSError as error:
            if cannot_be_written(error) and (self.path / SPEC_NAME).is_file():
                self._stop(f"{error}; what is there is read")
                return
            raise UsageError(
                f"cannot use the feature cache {self.path}: {error}; check its disk and permissions, or set "
                f"{CACHE_ENV} to another folder"
            ) from error

    def _make_folder(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if not os.access(self.path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.path))
        if not (self.path / SPEC_NAME).is_file():
            with atomic(self.path / SPEC_NAME) as partial:
                partial.write_text(json.dumps(self.spec, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def has(self, digest: str, layers: Sequence[str]) -> bool:
        """Tell whether all ``layers`` of an image are stored; their file then counts as used."""
        path = file_of(self.path, digest)
        found = set(layers) <= layers_of(path)
        if found:
            _touch(path)
        return found

    def get(self, digest: str, layers: Sequence[str]) -> dict[str, np.ndarray] | None:
        """Return the arrays of one image, read-only, or ``None`` if any layer is missing or damaged.

        A damaged file is removed with a warning.
        """
        path = file_of(self.path, digest)
        arrays: dict[str, np.ndarray] = {}
        try:
            with open(path, "rb") as file:
                header = read_header(file)
                if not set(layers) <= header.keys():
                    return None
                data, sums = file.tell(), header["__metadata__"]
                for layer in layers:
                    entry = header[layer]
                    array = np.empty(entry["shape"], _TYPES[entry["dtype"]])
                    file.seek(data + entry["data_offsets"][0])
                    if file.readinto(_bytes(array)) < array.nbytes or sums[layer] != _checksum(array):
                        raise ValueError(f"the layer {layer}")
                    array.flags.writeable = False
                    arrays[layer] = array
        except FileNotFoundError:  # not there, or evicted by another process
            return None
        except (OSError, ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError) as error:
            logger.warning("feature cache: %s is damaged (%s); computing again", path, error)
            with suppress(OSError):
                path.unlink()
            return None
        _touch(path)
        return arrays

    def put(self, digest: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Store the arrays of one image, by layer; layers that are stored already are left as they are.

        What cannot be stored is said once, and computed again when it is needed.

        Raises:
            UsageError: an array of other things than numbers or booleans of at most 64 bits.
        """
        plain = {layer: _plain(np.asarray(array)) for layer, array in arrays.items()}
        path = file_of(self.path, digest)
        known = layers_of(path)
        if self.full or plain.keys() <= known:
            return
        stored = self.get(digest, sorted(known)) if known else None
        try:
            self._write(path, {**plain, **(stored or {})})
        except OSError as error:
            self._stop(f"{error}; the run goes on without")

    def _write(self, path: Path, arrays: dict[str, np.ndarray]) -> None:
        header, size = _header(arrays)
        with self._lock:
            if self.full:
                return
            if self._room is not None and not self._room.make(size):
                self._stop(
                    f"the limit of {(self.limit_bytes or 0) / 1e9:.1f} GB is reached; features of further "
                    "images are computed again when they are needed"
                )
                return
        try:
            _place(path, header, arrays)
        except FileNotFoundError:  # the first in its folder, or somebody has cleared the cache
            self._make_folder()
            path.parent.mkdir(exist_ok=True)
            _place(path, header, arrays)

    def _stop(self, reason: str) -> None:
        if not self.full:
            logger.warning("feature cache %s: nothing more is stored: %s", self.path, reason)
        self.full = True


def _header(arrays: Mapping[str, np.ndarray]) -> tuple[bytes, int]:
    """Return the beginning of a file of these arrays, and the size of the whole file.

    Written here and not by the package safetensors, which copies every array twice and tells of a full disk
    by an error of its own: a file of 3 MB takes 5 instead of 14 ms.
    """
    header: dict[str, object] = {"__metadata__": {layer: _checksum(array) for layer, array in arrays.items()}}
    end = 0
    for layer, array in arrays.items():
        begin, end = end, end + array.nbytes
        kind = _NAMES[array.dtype.str]
        header[layer] = {"dtype": kind, "shape": array.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, 8 + len(text) + end


def _place(path: Path, header: bytes, arrays: Mapping[str, np.ndarray]) -> None:
    with atomic(path) as partial:
        with open(partial, "wb") as file:
            file.write(header)
            for array in arrays.values():
                file.write(_bytes(array))
        os.utime(partial)  # by the clock that _began is of, which file systems' may lag behind


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _plain(array: np.ndarray) -> np.ndarray:
    """Return an array of booleans, integers or floats of at most 64 bits, little-endian and contiguous."""
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise UsageError(f"the feature store holds numbers and booleans up to 64 bits, not {array.dtype}")
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _checksum(array: np.ndarray) -> str:
    return str(zlib.crc32(_bytes(array), zlib.crc32(f"{array.dtype.str}{array.shape}".encode())))


def _touch(path: Path) -> None:
    """Note that this process uses a file, once a process."""
    with suppress(OSError):
        if os.stat(path).st_mtime_ns < _began:
            os.utime(path)


class _Room:
    """Room in the cache under a limit: of the files of all specs, those unused for longest are removed.

    Files used since this process began stay: it may come back to them, and would otherwise drive out its own
    work. Processes that write at the same time know of each other's files whenever the cache is measured, and
    may exceed the limit by what they write in between.
    """

    def __init__(self, cache: Path, limit: int) -> None:
        self._cache = cache
        self._limit = limit
        self._total = 0
        self._unseen = limit  # bytes written since the cache was measured
        self._spare: list[tuple[int, int, str]] = []  # time, bytes, path of files that may go, newest first

    def make(self, needed: int) -> bool:
        """Make room for a file of ``needed`` bytes; nothing is removed where that would not be enough."""
        full = self._total + needed > self._limit
        if self._unseen + needed > self._limit // LOOK_AGAIN or (full and not self._spare):
            files = list(list_files(self._cache))
            self._total, self._unseen = sum(size for _, size, _ in files), 0
            self._spare = sorted((file for file in files if file[0] < _began), reverse=True)
        if self._total + needed - sum(size for _, size, _ in self._spare) > self._limit:
            return False
        while self._total + needed > self._limit and self._spare:
            self._total -= _evict(*self._spare.pop())
        if self._total + needed > self._limit:
            return False
        self._total += needed
        self._unseen += needed
        return True


def _evict(used: int, size: int, path: str) -> int:
    """Remove a file unless it was used meanwhile; return the bytes freed."""
    try:
        if os.stat(path).st_mtime_ns != used:
            return 0
        os.unlink(path)
    except FileNotFoundError:
        return size
    except OSError:  # in use, on Windows
        return 0
    return size
