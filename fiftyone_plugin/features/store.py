"""The feature store on disk: arrays by image and layer, in shards, resumable, memory-mapped, bounded in size.

One store holds the features of one *spec* (backbone, weights, precision, input size), in
``<cache>/features/<hash of the spec>``::

    spec.json       the spec, for people
    index.sqlite    which array lies where, with a checksum of each
    shards/*.bin    the arrays' bytes

A shard is written under another name and brought to the disk; it gets its name and its rows in one
transaction of the index, so a crash loses the images of the unfinished shard only. Nothing is kept in memory
but the rows of that shard, one bit per array that was verified, and a few memory maps.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import sqlite3
import threading
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from ..common.files import atomic
from ..common.paths import CACHE_ENV
from ..errors import UsageError
from .cache import FEATURES_FOLDER, SHARDS_FOLDER, SPEC_NAME, SpecInfo, cache_info, clear_cache, make_room
from .index import INDEX_NAME, ArrayRow, Index, IndexFormatError
from .shards import PartialShard, ShardMaps, list_shards, remove_dead_partials, touch_shard

__all__ = [
    "FeatureStore",
    "FeatureWriter",
    "Recovered",
    "SpecInfo",
    "cache_info",
    "cannot_be_written",
    "clear_cache",
    "spec_hash",
]

logger = logging.getLogger(__name__)

IMAGES_PER_SHARD = 64
BYTES_PER_SHARD = 128 << 20
DIGESTS_PER_BATCH = 10_000
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC)

_T = TypeVar("_T")


def spec_hash(spec: Mapping[str, Any]) -> str:
    """Return the first 16 hex digits of the sha256 of the spec's canonical JSON: the name of its folder."""
    canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def cannot_be_written(error: BaseException | None) -> bool:
    """Tell whether a cache fails because its disk is full, read-only or closed to this user.

    Not so where the folder was named by mistake, e.g. is a file: then somebody should hear of it.
    """
    if isinstance(error, sqlite3.OperationalError):  # also those of a full disk and of missing permissions
        return "locked" not in str(error)
    return isinstance(error, OSError) and error.errno in _UNWRITABLE


@dataclass(frozen=True)
class Recovered:
    """What opening a store found left behind by a crash, and removed.

    Attributes:
        unfinished: shards whose writer died before they were finished.
        unknown: finished shard files that the index does not know.
        damaged: shards that are missing or shorter than recorded.
        arrays: arrays that went with the damaged shards.
    """

    unfinished: int = 0
    unknown: int = 0
    damaged: int = 0
    arrays: int = 0


class FeatureStore:
    """Arrays by (image digest, layer name), for one feature spec.

    Several threads may use one object, and several processes the same folder, each with its own object.

    Args:
        directory: the cache folder; the store lies below it.
        spec: what identifies the features, JSON-serialisable.
        limit_bytes: largest size of the shards of all specs together; ``None``: no limit.

    Attributes:
        path: the folder of this store.
        full: nothing more is stored, because of the limit or of a disk that cannot be written. Reading goes
            on.
        recovered: what was cleaned up on opening.

    Raises:
        UsageError: the folder cannot be used.
    """

    def __init__(
        self, directory: str | os.PathLike[str], spec: Mapping[str, Any], limit_bytes: int | None
    ) -> None:
        self.cache = Path(directory).absolute()
        self.spec = dict(spec)
        self.limit_bytes = limit_bytes
        self.path = self.cache / FEATURES_FOLDER / spec_hash(spec)
        self.full = False
        self._shards = self.path / SHARDS_FOLDER
        self._maps = ShardMaps(self._shards)
        self._verified: defaultdict[str, int] = defaultdict(int)  # shard -> one bit per array
        self._lock = threading.Lock()
        try:
            self._index = self._open()
            self.recovered = self._recover()
        except (OSError, sqlite3.Error) as error:
            if self._open_for_reading(error):
                return
            raise UsageError(
                f"cannot use the feature cache {self.path}: {error}; check its disk and permissions, or set "
                f"{CACHE_ENV} to another folder"
            ) from error

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the index and the memory maps; arrays already returned stay valid."""
        self._maps.clear()
        self._index.close()

    def writer(self, images_per_shard: int = IMAGES_PER_SHARD) -> FeatureWriter:
        """Return a context manager with ``put``; a shard is finished after that many images or 128 MiB."""
        return FeatureWriter(self, images_per_shard)

    def get(self, digest: str, layers: Sequence[str]) -> dict[str, np.ndarray] | None:
        """Return the arrays of one image, or ``None`` if any layer is missing or damaged.

        The arrays are read-only views into memory-mapped files. The first time that this object returns an
        array its checksum is verified; a damaged one is forgotten with a warning.
        """
        rows = self._ask(lambda: self._index.find(digest, layers)) or {}
        arrays: dict[str, np.ndarray] = {}
        for layer in layers:
            array = self._read(rows[layer]) if layer in rows else None
            if array is None:
                return None
            arrays[layer] = array
        return arrays

    def has(self, digest: str, layers: Sequence[str]) -> bool:
        """Tell whether all ``layers`` of an image are stored."""
        return not self.missing([digest], layers)

    def missing(self, digests: Iterable[str], layers: Sequence[str]) -> list[str]:
        """Return those of ``digests``, each once and in their order, of which not all ``layers`` are stored.

        ``digests`` may be a generator; it is read in batches. Shards that hold what was asked for count as
        used: they are not evicted by this process.
        """
        wanted, absent = len(set(layers)), dict[str, None]()
        stream = iter(digests)
        while batch := dict.fromkeys(islice(stream, DIGESTS_PER_BATCH)):
            found = self._locate(list(batch), list(set(layers)))
            stored: defaultdict[str, int] = defaultdict(int)
            for digest, _ in found:
                stored[digest] += 1
            for shard in {shard for _, shard in found}:
                touch_shard(self._shards / shard)
            absent.update((digest, None) for digest in batch if stored[digest] < wanted)
        return list(absent)

    def _locate(self, digests: list[str], layers: list[str]) -> list[tuple[str, str]]:
        return self._ask(lambda: self._index.locate(digests, layers)) or []

    def _open(self) -> Index:
        self._shards.mkdir(parents=True, exist_ok=True)
        try:
            index = Index(self.path / INDEX_NAME)
        except (sqlite3.DatabaseError, IndexFormatError) as error:
            if isinstance(error, sqlite3.OperationalError):  # locked, full, not permitted: not damaged
                raise
            logger.warning(
                "feature cache %s: starting afresh, its index is not usable (%s)", self.path, error
            )
            shutil.rmtree(self.path, ignore_errors=True)
            self._shards.mkdir(parents=True, exist_ok=True)
            index = Index(self.path / INDEX_NAME)
        if not (self.path / SPEC_NAME).is_file():
            with atomic(self.path / SPEC_NAME) as partial:
                partial.write_text(json.dumps(self.spec, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return index

    def _open_for_reading(self, error: Exception) -> bool:
        """Open what a disk that cannot be written holds already; returns whether there is something."""
        if not cannot_be_written(error):
            return False
        try:
            self._index = Index(self.path / INDEX_NAME, read_only=True)
        except (OSError, sqlite3.Error, IndexFormatError):
            return False
        self.recovered = Recovered()
        self._stop(f"{error}; what is there is read")
        return True

    def _recover(self) -> Recovered:
        """Remove what a crash has left: see :class:`Recovered`.

        Shards get their names and their rows, and unfinished ones their locks, while the writer holds the
        write lock of the index. Holding it here, a file without rows or without a lock is nobody's.
        """
        with self._index.transaction():
            sizes = {entry.name: entry.stat().st_size for entry in list_shards(self._shards)}
            recorded = self._index.shards()
            damaged = [name for name, size in recorded if sizes.get(name, -1) < size]
            arrays = sum(self._index.drop_shard(name) for name in damaged)
            unknown = sizes.keys() - {name for name, _ in recorded}
            for name in {*unknown, *damaged} & sizes.keys():
                (self._shards / name).unlink(missing_ok=True)
            recovered = Recovered(remove_dead_partials(self._shards), len(unknown), len(damaged), arrays)
        if recovered != Recovered():
            logger.warning(
                "feature cache %s: removed %d unfinished, %d unknown and %d damaged shards (%d arrays)",
                *(self.path, recovered.unfinished, recovered.unknown, recovered.damaged, recovered.arrays),
            )
        return recovered

    def _read(self, row: ArrayRow) -> np.ndarray | None:
        try:
            array = self._maps.array(row)
        except FileNotFoundError:  # evicted or cleared by another process
            self._ask(lambda: self._drop_shard(row.shard))
            return None
        except (OSError, ValueError) as error:
            logger.warning(
                "feature cache: %s is not readable (%s); computing again", self._shards / row.shard, error
            )
            self._ask(lambda: self._drop_shard(row.shard))
            return None
        bit = 1 << row.number
        if not self._verified[row.shard] & bit:
            if zlib.crc32(array.reshape(-1).view(np.uint8).data) != row.crc32:
                logger.warning(
                    "feature cache: layer %s of image %s in %s is damaged; computing again",
                    *(row.layer, row.digest[:12], self._shards / row.shard),
                )
                self._ask(lambda: self._index.drop_array(row))
                return None
            with self._lock:
                self._verified[row.shard] |= bit
        return array

    def _drop_shard(self, name: str) -> int:
        with self._index.transaction():
            return self._index.drop_shard(name)

    def _ask(self, question: Callable[[], _T]) -> _T | None:
        """Ask the index; if it fails, nothing is found and nothing more is stored, and the run goes on."""
        try:
            return question()
        except sqlite3.Error as error:
            self._stop(
                f"its index failed ({error}); if that lasts, run `pseudomask cache clear {self.path.name}`"
            )
            return None

    def _stop(self, reason: str) -> None:
        with self._lock:
            first, self.full = not self.full, True
        if first:
            logger.warning("feature cache %s: nothing more is stored: %s", self.path, reason)

    def _new_shard(self) -> PartialShard:
        with self._index.transaction():  # see _recover
            return PartialShard(self._shards)

    def _finish(self, shard: PartialShard) -> None:
        """Make a shard part of the store, or discard it where it does not fit."""
        shard.seal()
        if self.limit_bytes is not None and not make_room(self.cache, shard.size, self.limit_bytes):
            self._stop(
                f"the limit of {self.limit_bytes / 1e9:.1f} GB is reached; features of further images are "
                "computed again when they are needed"
            )
            shard.discard()
            return
        try:
            with self._index.transaction():
                if self._index.add_shard(shard.name, shard.size, shard.rows):
                    shard.publish()
                else:
                    self._index.drop_shard(shard.name)
        except BaseException:
            if shard.done:
                shard.discard()
            raise
        if not shard.done:  # another process has stored the same images meanwhile
            shard.discard()


class FeatureWriter:
    """Adds arrays to a store; use it in a ``with`` block. Threads may share it.

    Shards are finished at their size, when the block ends, and also when it ends by an exception or by
    ``KeyboardInterrupt``: what was put completely is kept.
    """

    def __init__(self, store: FeatureStore, images_per_shard: int) -> None:
        self._store = store
        self._images_per_shard = images_per_shard
        limit = store.limit_bytes
        # small shards under a small limit: one shard is what a crash loses and the unit of eviction
        self._bytes_per_shard = BYTES_PER_SHARD if limit is None else min(BYTES_PER_SHARD, limit // 8)
        self._shard: PartialShard | None = None
        self._pending: set[tuple[str, str]] = set()
        self._lock = threading.RLock()

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()

    def put(self, digest: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Store the arrays of one image; layers that are stored already are left as they are.

        Args:
            digest: sha256 of the image file.
            arrays: layer name -> array of any shape; numbers or booleans of at most 64 bits.

        Raises:
            UsageError: an array of another type.
        """
        store = self._store
        with self._lock:
            if store.full:
                return
            known = store._ask(lambda: store._index.find(digest, tuple(arrays))) or {}
            fresh = {
                layer: np.asarray(array)
                for layer, array in arrays.items()
                if layer not in known and (digest, layer) not in self._pending
            }
            if not fresh or store.full:
                return
            try:
                if self._shard is None or self._shard.done:
                    self._shard = store._new_shard()
                self._shard.append(digest, fresh)
            except (OSError, sqlite3.Error) as error:
                self._give_up(error)
                return
            self._pending.update((digest, layer) for layer in fresh)
            if self._shard.images >= self._images_per_shard or self._shard.size >= self._bytes_per_shard:
                self.flush()

    def flush(self) -> None:
        """Finish the shard that is being written, if there is one."""
        with self._lock:
            try:
                # an interrupt before the shard is done leaves it as it was, for another flush
                if self._shard is not None and not self._shard.done:
                    self._store._finish(self._shard)
            except (OSError, sqlite3.Error) as error:
                self._give_up(error)
            else:
                self._forget()

    def _give_up(self, error: Exception) -> None:
        if self._shard is not None:
            self._shard.discard()
        self._forget()
        self._store._stop(f"{error}; the run goes on without")

    def _forget(self) -> None:
        self._shard = None
        self._pending.clear()
