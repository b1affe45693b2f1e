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


def fill(cache: Path, numbers, per_shard: int = 4, spec=SPEC, limit: int | None = None) -> None:
    with FeatureStore(cache, spec, limit) as store, store.writer(per_shard) as writer:
        for number in numbers:
            writer.put(digest(number), features(number))


def shard_files(cache: Path, spec=SPEC) -> list[Path]:
    return sorted((cache / "features" / spec_hash(spec) / "shards").iterdir())


def bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()
