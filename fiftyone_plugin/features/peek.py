"""A look at the feature cache without opening it for use: how much of a run is there already."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from ..common.untrusted import read_json
from ..errors import ImageReadError, UsageError
from ..images.reading import file_digest
from .cache import FEATURES_FOLDER, SPEC_NAME
from .index import INDEX_NAME

__all__ = ["cached_share"]

BUDGET_S = 0.03  # forms ask at every keystroke
LARGE_BYTES = 20_000_000  # reading it to name it takes too long


def cached_share(paths: Sequence[str], backbone: str, size: int, cache: Path) -> float:
    """Return the share of image files of which features are cached, in [0, 1].

    As many files are looked at as a few hundredths of a second allow, so give a sample of a large set. Which
    layers are stored is not asked: after a run of another method some may have to be computed.

    Args:
        paths: image files; those that cannot be read do not count.
        backbone: name of the backbone.
        size: side of the network input in pixels.
        cache: the cache folder.
    """
    end = time.monotonic() + BUDGET_S
    indices = _indices(cache, backbone, size)
    found = looked = 0
    for path in paths if indices else ():
        with suppress(ImageReadError, OSError):
            if Path(path).stat().st_size <= LARGE_BYTES:
                digest = file_digest(path)
                found += any(_knows(index, digest) for index in indices)
                looked += 1
        if time.monotonic() > end:
            break
    return found / looked if looked else 0.0


def _indices(cache: Path, backbone: str, size: int) -> list[Path]:
    found = []
    for path in (cache / FEATURES_FOLDER).glob(f"*/{SPEC_NAME}"):
        with suppress(UsageError, AttributeError):
            spec = read_json(path, what="the spec of a feature store")
            if (spec.get("backbone"), spec.get("size")) == (backbone, size):
                found.append(path.with_name(INDEX_NAME))
    return found


def _knows(index: Path, digest: str) -> bool:
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{index.as_uri()}?mode=ro", 0, uri=True)) as base:
        return bool(base.execute("SELECT 1 FROM arrays WHERE digest = ? LIMIT 1", (digest,)).fetchone())
    return False
