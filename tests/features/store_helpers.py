"""Small features, and a store filled with them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from fiftyone_plugin.features.store import FeatureStore, spec_hash

SPEC = {"backbone": "vit", "weights_sha256": "ab" * 32, "precision": "float32", "size": 448}
posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and limits")


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def features(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    return {"out": rng.standard_normal((7, 5)).astype(np.float16), "cls": rng.random(6, np.float32)}


def same(store: FeatureStore, number: int) -> bool:
    found = store.get(digest(number), ["out", "cls"])
    return found is not None and all(np.array_equal(found[k], v) for k, v in features(number).items())


def absent(store: FeatureStore, numbers, layers=("out", "cls")) -> list[int]:
    return [number for number in numbers if not store.has(digest(number), layers)]


def fill(cache: Path, numbers, spec=SPEC, limit: int | None = None) -> None:
    store = FeatureStore(cache, spec, limit)
    for number in numbers:
        store.put(digest(number), features(number))


def file_for(cache: Path, number: int, spec=SPEC) -> Path:
    name = digest(number)
    return cache / "features" / spec_hash(spec) / name[:2] / f"{name}.safetensors"


def files_in(cache: Path, spec=SPEC) -> list[Path]:
    """All files of a store but its spec, hidden ones too."""
    folder = cache / "features" / spec_hash(spec)
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "spec.json")


def bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()
