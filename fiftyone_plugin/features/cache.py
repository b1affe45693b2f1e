"""The cache folder as a whole: how much the feature stores of all specs take, eviction, clearing."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.untrusted import read_json
from ..errors import UsageError
from .index import INDEX_NAME, Index, IndexFormatError
from .shards import list_shards, used_by_this_process

__all__ = [
    "FEATURES_FOLDER",
    "SHARDS_FOLDER",
    "SPEC_NAME",
    "SpecInfo",
    "cache_info",
    "clear_cache",
    "make_room",
]

FEATURES_FOLDER = "features"
SHARDS_FOLDER = "shards"
SPEC_NAME = "spec.json"
_SPEC_HASH = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class SpecInfo:
    """What the cache holds for one feature spec.

    Attributes:
        spec_hash: name of its folder.
        spec: the spec itself; empty where its file cannot be read.
        images: number of images of which something is stored.
        layers: names of the layers stored, sorted.
        bytes: size on disk of the whole folder.
        last_used: seconds since the epoch at which a process last began to use one of its shards; ``None`` if
            there are none.
    """

    spec_hash: str
    spec: dict[str, Any]
    images: int
    layers: tuple[str, ...]
    bytes: int
    last_used: float | None

    @property
    def backbone(self) -> str | None:
        """Name of the backbone, where the spec says."""
        return self.spec.get("backbone")

    @property
    def size(self) -> int | None:
        """Network input in pixels, where the spec says."""
        return self.spec.get("size")


def cache_info(cache: Path) -> list[SpecInfo]:
    """Describe the feature stores below ``cache``, sorted by hash; nothing is changed.

    Stores whose index cannot be read are listed with no images.
    """
    return [_describe(folder) for folder in _spec_folders(cache)]


def clear_cache(cache: Path, spec_hash: str | None = None) -> int:
    """Remove the features of one spec, or of all.

    A process that uses them at that moment goes on: it computes again what it does not find.

    Returns:
        The bytes freed.

    Raises:
        UsageError: there are no features of that spec.
    """
    folders = [folder for folder in _spec_folders(cache) if spec_hash in (None, folder.name)]
    if spec_hash is not None and not folders:
        known = ", ".join(folder.name for folder in _spec_folders(cache)) or "none"
        raise UsageError(f"no features of spec {spec_hash} in {cache}; known: {known}")
    freed = 0
    for folder in folders:
        before = _folder_bytes(folder)
        shutil.rmtree(folder, ignore_errors=True)  # what another process holds open stays on Windows
        freed += before - _folder_bytes(folder)
    return freed


def make_room(cache: Path, needed: int, limit: int) -> bool:
    """Evict shards, least recently used first, until ``needed`` more bytes fit under ``limit``.

    All specs count. Shards that this process has used stay: it may come back to them, and would otherwise
    drive out its own work. Nothing is evicted where that would not be enough. Processes that finish a shard
    at the same moment may exceed the limit by those shards, until the next one is finished.

    Returns:
        Whether there is room.
    """
    shards = []
    for folder in _spec_folders(cache):
        for entry in list_shards(folder / SHARDS_FOLDER):
            with contextlib.suppress(OSError):  # evicted by another process meanwhile
                info = entry.stat()
                shards.append((info.st_mtime_ns, Path(entry.path), info.st_size))
    total = sum(size for _, _, size in shards) + needed
    spare = sorted(shard for shard in shards if not used_by_this_process(shard[1].name))
    if total - sum(size for _, _, size in spare) > limit:
        return False
    for _, path, size in spare:
        if total <= limit:
            break
        if _evict(path):
            total -= size
    return total <= limit


def _evict(shard: Path) -> bool:
    """Remove a shard and then its rows; who has it mapped keeps the bytes (POSIX) or the file (Windows)."""
    try:
        shard.unlink(missing_ok=True)
    except OSError:
        return False
    # rows left behind by a failure here are dropped by whoever misses the file
    with contextlib.suppress(sqlite3.Error, IndexFormatError):
        index = Index(shard.parent.parent / INDEX_NAME)
        try:
            with index.transaction():
                index.drop_shard(shard.name)
        finally:
            index.close()
    return True


def _spec_folders(cache: Path) -> list[Path]:
    try:
        entries = sorted((cache / FEATURES_FOLDER).iterdir())
    except OSError:
        return []
    return [entry for entry in entries if _SPEC_HASH.fullmatch(entry.name) and entry.is_dir()]


def _describe(folder: Path) -> SpecInfo:
    try:
        spec = read_json(folder / SPEC_NAME, what="the spec of a feature store")
    except UsageError:
        spec = {}
    images, layers = 0, list[str]()
    if (folder / INDEX_NAME).is_file():
        with contextlib.suppress(sqlite3.Error, IndexFormatError):
            index = Index(folder / INDEX_NAME)
            try:
                images, layers = index.count_images(), index.layers()
            finally:
                index.close()
    used = []
    for entry in list_shards(folder / SHARDS_FOLDER):
        with contextlib.suppress(OSError):
            used.append(entry.stat().st_mtime)
    return SpecInfo(
        folder.name,
        spec if isinstance(spec, dict) else {},
        images,
        tuple(layers),
        _folder_bytes(folder),
        max(used, default=None),
    )


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in _files(folder):
        with contextlib.suppress(OSError):
            total += os.stat(path).st_size
    return total


def _files(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        yield from (os.path.join(parent, name) for name in names)
