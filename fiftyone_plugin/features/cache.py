"""The cache folder as a whole: what the feature stores of all specs hold and take, clearing, a quick look."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..common.files import is_partial
from ..common.untrusted import read_json
from ..errors import ImageReadError, UsageError
from ..images.reading import file_digest

__all__ = ["FEATURES_FOLDER", "SPEC_NAME", "SpecInfo", "cache_info", "cached_share", "clear_cache", "file_of"]
__all__ += ["layers_of", "list_files", "read_header"]

FEATURES_FOLDER = "features"
SPEC_NAME = "spec.json"
SUFFIX = ".safetensors"
ABANDONED_S = 3600.0  # a file that has been written for so long is of a process that was killed
MAX_HEADER = 1 << 20  # bytes
BUDGET_S = 0.03  # forms ask at every keystroke
LARGE_BYTES = 20_000_000  # reading it to name it takes too long
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
        last_used: seconds since the epoch at which a process last began to use one of its files; ``None`` if
            there are none.
        former_bytes: size of what versions before this one have stored, which is not read any more.
    """

    spec_hash: str
    spec: dict[str, Any]
    images: int
    layers: tuple[str, ...]
    bytes: int
    last_used: float | None
    former_bytes: int = 0

    @property
    def backbone(self) -> str | None:
        """Name of the backbone, where the spec says."""
        return self.spec.get("backbone")

    @property
    def size(self) -> int | None:
        """Network input in pixels, where the spec says."""
        return self.spec.get("size")


def cache_info(cache: Path) -> list[SpecInfo]:
    """Describe the feature stores below ``cache``, sorted by hash; nothing is changed."""
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
        before = sum(size for _, size, _ in _files(folder))
        shutil.rmtree(folder, ignore_errors=True)  # what another process holds open stays on Windows
        freed += before - sum(size for _, size, _ in _files(folder))
    return freed


def cached_share(paths: Sequence[str], backbone: str, size: int, cache: Path, tiles: int = 1) -> float:
    """Return the share of image files of which features are cached, in [0, 1].

    As many files are looked at as a few hundredths of a second allow, so give a sample of a large set; those
    that cannot be read do not count. Which layers are stored is not asked: after a run of another method some
    may have to be computed. ``size`` is the side of the network input in pixels.
    """
    end = time.monotonic() + BUDGET_S
    wanted = {"backbone": backbone, "size": size, "tiles": tiles}.items()
    stores = [folder for folder in _spec_folders(cache) if wanted <= ({"tiles": 1} | _spec(folder)).items()]
    found = looked = 0
    for path in paths if stores else ():
        with suppress(ImageReadError, OSError):
            if Path(path).stat().st_size <= LARGE_BYTES:
                digest = file_digest(path)
                found += any(file_of(store, digest).is_file() for store in stores)
                looked += 1
        if time.monotonic() > end:
            break
    return found / looked if looked else 0.0


def file_of(store: Path, digest: str) -> Path:
    """Return where the features of an image lie in the folder of a store."""
    return store / digest[:2] / f"{digest}{SUFFIX}"


def layers_of(path: Path) -> set[str]:
    """Return the names of the layers in a file of features; none if it is not there or no such file."""
    try:
        with open(path, "rb") as file:
            return set(read_header(file)) - {"__metadata__"}
    except (OSError, ValueError):
        return set()


def read_header(file: IO[bytes]) -> dict[str, Any]:
    """Return what a file of features says of its arrays, see https://github.com/huggingface/safetensors.

    Raises:
        ValueError: it is no such file.
        OSError: it cannot be read.
    """
    length = int.from_bytes(file.read(8), "little")
    try:
        header = json.loads(file.read(length)) if length <= MAX_HEADER else None
    except RecursionError:
        header = None
    if not isinstance(header, dict):
        raise ValueError("it has no header")
    return header


def list_files(cache: Path) -> Iterator[tuple[int, int, str]]:
    """Yield (time of last use in ns, bytes, path) of the files of all specs, but for the specs themselves.

    What killed processes have left half written is removed on the way.
    """
    abandoned = time.time_ns() - int(ABANDONED_S * 1e9)
    for folder in _spec_folders(cache):
        for used, size, path in _files(folder):
            name = os.path.basename(path)
            if is_partial(name) and used < abandoned:
                with suppress(OSError):
                    os.unlink(path)
            elif name != SPEC_NAME:
                yield used, size, path


def _spec_folders(cache: Path) -> list[Path]:
    try:
        entries = sorted((cache / FEATURES_FOLDER).iterdir())
    except OSError:
        return []
    return [entry for entry in entries if _SPEC_HASH.fullmatch(entry.name) and entry.is_dir()]


def _spec(folder: Path) -> dict[str, Any]:
    with suppress(UsageError):
        spec = read_json(folder / SPEC_NAME, what="the spec of a feature store")
        return spec if isinstance(spec, dict) else {}
    return {}


def _describe(folder: Path) -> SpecInfo:
    images, layers, total, former, last = 0, set[str](), 0, 0, 0
    for used, size, path in _files(folder):
        total += size
        name = os.path.basename(path)
        if name.endswith(SUFFIX):
            images += 1
            layers |= layers_of(Path(path))
            last = max(last, used)
        elif name != SPEC_NAME and not is_partial(name):
            former += size
    used_s = last / 1e9 if images else None
    return SpecInfo(folder.name, _spec(folder), images, tuple(sorted(layers)), total, used_s, former)


def _files(folder: Path) -> Iterator[tuple[int, int, str]]:
    """Yield (time of change in ns, bytes, path) of the files below a folder."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with suppress(OSError):
                info = os.stat(path)
                yield info.st_mtime_ns, info.st_size, path
