"""The store of features: what was put comes back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import sqlite3

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.features.store import FeatureStore, spec_hash

from .store_helpers import SPEC, bits, digest, features, fill, same, shard_files


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_was_put_comes_back_bit_equal(tmp_path, data):
    dtypes = st.sampled_from(["<f2", "<f4", "|u1", ">f4", "<f8", "<i4", "<i8", "|b1", ">u2"])
    shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)
    arrays = hnp.arrays(dtypes.map(np.dtype), shapes)
    images = data.draw(
        st.lists(st.dictionaries(st.sampled_from(["out", "t3", "é/x y"]), arrays, min_size=1), max_size=6)
    )
    folder = tmp_path / os.urandom(4).hex()
    with FeatureStore(folder, SPEC, None) as store:
        with store.writer(data.draw(st.integers(1, 4))) as writer:
            for number, layers in enumerate(images):
                writer.put(digest(number), {k: v[::-1] if v.ndim else v for k, v in layers.items()})
        for number, layers in enumerate(images):
            found = store.get(digest(number), list(layers))
            assert list(found) == list(layers)
            for name, expected in layers.items():
                expected = expected[::-1] if expected.ndim else expected
                assert found[name].shape == expected.shape
                assert found[name].dtype == expected.dtype.newbyteorder("<")
                assert bits(found[name]) == bits(expected.astype(found[name].dtype))
                assert not found[name].flags.writeable


def test_arrays_are_aligned_views_of_a_memory_map(tmp_path):
    fill(tmp_path, range(3))
    with FeatureStore(tmp_path, SPEC, None) as store:
        array = store.get(digest(1), ["cls"])["cls"]
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base.obj if isinstance(base, memoryview) else base, mmap.mmap)
    assert array.ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    assert np.array_equal(array, features(1)["cls"])  # still valid though the store is closed


def test_layout_on_disk(tmp_path):
    fill(tmp_path, range(6), per_shard=4)
    canonical = json.dumps(SPEC, sort_keys=True, separators=(",", ":")).encode()
    folder = tmp_path / "features" / hashlib.sha256(canonical).hexdigest()[:16]
    assert json.loads((folder / "spec.json").read_text()) == SPEC
    assert spec_hash(dict(reversed(SPEC.items()))) == folder.name
    assert [p.suffix for p in shard_files(tmp_path)] == [".bin"] * 2
    with contextlib.closing(sqlite3.connect(folder / "index.sqlite")) as db:
        assert db.execute("SELECT COUNT(*) FROM arrays").fetchone() == (12,)


def test_get_has_missing(tmp_path):
    with FeatureStore(tmp_path, SPEC, None) as store:
        with store.writer() as writer:
            for number in range(5):
                writer.put(digest(number), features(number))
            writer.put(digest(9), {"cls": features(9)["cls"]})
        assert all(same(store, number) for number in range(5))
        assert store.get(digest(9), ["cls", "out"]) is None
        assert list(store.get(digest(9), ["cls"])) == ["cls"]
        assert list(store.get(digest(1), ["cls", "out"])) == ["cls", "out"]
        assert store.get(digest(77), ["out"]) is None
        assert store.has(digest(0), ["out", "cls"])
        assert store.has(digest(0), ["out", "out"])
        assert not store.has(digest(9), ["out", "cls"])
        order = [9, 77, 0, 9, 4, 50]
        assert store.missing(map(digest, order), ["out", "cls"]) == [digest(n) for n in (9, 77, 50)]
        assert store.missing([], ["out"]) == []


def test_missing_in_bulk(tmp_path, monkeypatch):
    """Many batches, with the same digest in several of them."""
    monkeypatch.setattr("fiftyone_plugin.features.store.DIGESTS_PER_BATCH", 7)
    monkeypatch.setattr("fiftyone_plugin.features.index.DIGESTS_PER_QUERY", 3)
    with FeatureStore(tmp_path, SPEC, None) as store:
        with store.writer() as writer:
            for number in range(0, 100, 2):
                writer.put(digest(number), {"out": features(number)["out"]})
            for number in range(0, 100, 4):
                writer.put(digest(number), features(number))
        asked = [n % 100 for n in range(250)]
        expected = [digest(n) for n in range(100) if n % 4]
        assert store.missing((digest(n) for n in asked), ["out", "cls"]) == expected
        assert store.missing((digest(n) for n in asked), ["out"]) == [digest(n) for n in range(1, 100, 2)]


def test_putting_again_changes_nothing(tmp_path):
    with FeatureStore(tmp_path, SPEC, None) as store:
        with store.writer() as writer:
            writer.put(digest(0), {"out": features(0)["out"]})
            writer.put(digest(0), {"out": np.zeros(3, np.uint8)})
        with store.writer() as writer:
            writer.put(digest(0), {"out": np.zeros(3, np.uint8)})
        assert len(shard_files(tmp_path)) == 1
        with store.writer() as writer:
            writer.put(digest(0), features(0) | {"out": np.zeros(3, np.uint8)})
        assert same(store, 0)
        assert len(shard_files(tmp_path)) == 2


def test_only_numbers(tmp_path):
    with FeatureStore(tmp_path, SPEC, None) as store, store.writer() as writer:
        writer.put(digest(0), features(0))
        for bad in (np.array(["text"]), np.array([None]), np.zeros(2, complex)):
            with pytest.raises(UsageError, match="feature store holds numbers"):
                writer.put(digest(1), features(1) | {"bad": bad})
        writer.put(digest(2), features(2))
    with FeatureStore(tmp_path, SPEC, None) as store:
        assert same(store, 0)
        assert not store.has(digest(1), ["out"])
        assert same(store, 2)


def test_specs_are_apart(tmp_path):
    other = SPEC | {"size": 224}
    fill(tmp_path, [1])
    with FeatureStore(tmp_path, other, None) as store:
        assert store.get(digest(1), ["out"]) is None


def test_shards_end_at_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr("fiftyone_plugin.features.store.BYTES_PER_SHARD", 4096)
    with FeatureStore(tmp_path, SPEC, None) as store, store.writer(1000) as writer:
        for number in range(10):
            writer.put(digest(number), {"out": np.zeros(1024, np.uint8)})
            assert len([p for p in shard_files(tmp_path) if p.suffix == ".bin"]) == (number + 1) // 4
    assert sum(p.stat().st_size for p in shard_files(tmp_path)) == 10 * 1024
