"""The store of features: what was put comes back."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.features.store import FeatureStore, spec_hash

from .store_helpers import SPEC, absent, bits, digest, features, file_for, files_in, fill, same


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_was_put_comes_back_bit_equal(tmp_path, data):
    dtypes = st.sampled_from(["<f2", "<f4", "|u1", ">f4", "<f8", "<i4", "<i8", "|b1", ">u2"])
    shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)
    arrays = hnp.arrays(dtypes.map(np.dtype), shapes)
    images = data.draw(
        st.lists(st.dictionaries(st.sampled_from(["out", "t3", "é/x y"]), arrays, min_size=1), max_size=6)
    )
    store = FeatureStore(tmp_path / os.urandom(4).hex(), SPEC, None)
    for number, layers in enumerate(images):
        store.put(digest(number), {k: v[::-1] if v.ndim else v for k, v in layers.items()})
    for number, layers in enumerate(images):
        found = store.get(digest(number), list(layers))
        assert list(found) == list(layers)
        for name, expected in layers.items():
            expected = expected[::-1] if expected.ndim else expected
            assert found[name].shape == expected.shape
            assert found[name].dtype == expected.dtype.newbyteorder("<")
            assert bits(found[name]) == bits(expected.astype(found[name].dtype))
            assert not found[name].flags.writeable


def test_arrays_outlive_their_file(tmp_path):
    fill(tmp_path, range(3))
    array = FeatureStore(tmp_path, SPEC, None).get(digest(1), ["cls"])["cls"]
    file_for(tmp_path, 1).write_bytes(b"another content")
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    assert np.array_equal(array, features(1)["cls"])


def test_layout_on_disk(tmp_path):
    from safetensors.numpy import load_file

    fill(tmp_path, range(6))
    canonical = json.dumps(SPEC, sort_keys=True, separators=(",", ":")).encode()
    folder = tmp_path / "features" / hashlib.sha256(canonical).hexdigest()[:16]
    assert json.loads((folder / "spec.json").read_text()) == SPEC
    assert spec_hash(dict(reversed(SPEC.items()))) == folder.name
    assert files_in(tmp_path) == sorted(file_for(tmp_path, number) for number in range(6))
    plain = load_file(file_for(tmp_path, 3))
    assert all(np.array_equal(plain[layer], array) for layer, array in features(3).items())


def test_get_and_has(tmp_path):
    store = FeatureStore(tmp_path, SPEC, None)
    for number in range(5):
        store.put(digest(number), features(number))
    store.put(digest(9), {"cls": features(9)["cls"]})
    assert all(same(store, number) for number in range(5))
    assert store.get(digest(9), ["cls", "out"]) is None
    assert list(store.get(digest(9), ["cls"])) == ["cls"]
    assert list(store.get(digest(1), ["cls", "out"])) == ["cls", "out"]
    assert store.get(digest(77), ["out"]) is None
    assert store.has(digest(0), ["out", "cls"])
    assert store.has(digest(0), ["out", "out"])
    assert absent(store, [9, 77, 0, 4, 50]) == [9, 77, 50]
    assert absent(store, [9], ["cls"]) == []


def test_putting_again_changes_nothing(tmp_path):
    store = FeatureStore(tmp_path, SPEC, None)
    store.put(digest(0), {"out": features(0)["out"]})
    before = file_for(tmp_path, 0).read_bytes()
    store.put(digest(0), {"out": np.zeros(3, np.uint8)})
    assert file_for(tmp_path, 0).read_bytes() == before
    FeatureStore(tmp_path, SPEC, None).put(digest(0), features(0) | {"out": np.zeros(3, np.uint8)})
    assert same(store, 0)
    assert len(files_in(tmp_path)) == 1


def test_only_numbers(tmp_path):
    store = FeatureStore(tmp_path, SPEC, None)
    store.put(digest(0), features(0))
    for bad in (np.array(["text"]), np.array([None]), np.zeros(2, complex)):
        with pytest.raises(UsageError, match="feature store holds numbers"):
            store.put(digest(1), features(1) | {"bad": bad})
    store.put(digest(2), features(2))
    assert same(store, 0)
    assert not store.has(digest(1), ["out"])
    assert same(store, 2)


def test_specs_are_apart(tmp_path):
    fill(tmp_path, [1])
    assert FeatureStore(tmp_path, SPEC | {"size": 224}, None).get(digest(1), ["out"]) is None
