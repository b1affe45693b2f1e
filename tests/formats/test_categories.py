from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.formats.categories import Categories, parse_mask_targets, read_class_file


@given(st.dictionaries(st.integers(1, 0xFFFFFF), st.text(max_size=3), min_size=1, max_size=20), st.data())
def test_encode_follows_the_names(names, data):
    categories = Categories.build(names)
    assert [item.id for item in categories.items] == list(range(1, len(categories) + 1))
    assert [item.name for item in categories.items] == list(dict.fromkeys(names[i] for i in sorted(names)))
    ids = data.draw(st.lists(st.sampled_from([0, *names]), min_size=1, max_size=30))
    expected = [{item.name: item.id for item in categories.items}[names[i]] if i else 0 for i in ids]
    for dtype in (np.uint8, np.uint16, np.int32, np.uint32, np.int64):
        if max(ids) <= np.iinfo(dtype).max:
            labels = categories.encode(np.array([ids], dtype))
            assert labels.tolist() == [expected]
            assert labels.dtype == np.uint16
            written = [list(categories.mask_ids)[c - 1] if c else 0 for c in expected]
            assert categories.decode(labels).tolist() == [written]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int16, np.int64])
def test_ids_without_a_name_are_refused(dtype):
    categories = Categories.build({2: "sea"})
    with pytest.raises(UsageError, match="ids without a name: 1; add them"):
        categories.encode(np.array([[0, 1]], dtype))
    assert categories.encode(np.zeros((2, 2), dtype)).tolist() == [[0, 0], [0, 0]]


def test_negative_ids_and_ids_out_of_range():
    with pytest.raises(UsageError, match="ids without a name: -1"):
        Categories.build({1: "sky"}).encode(np.array([[-1, 1]]))
    with pytest.raises(UsageError, match="must be within"):
        Categories.build({1 << 24: "sky"})
    with pytest.raises(UsageError, match="no class to export"):
        Categories.build({0: "nothing"})


def test_mask_targets():
    assert parse_mask_targets({"1": "sky", 2: "sea"}) == {1: "sky", 2: "sea"}
    assert parse_mask_targets({"#FF6d04": "sky"}) == {0xFF6D04: "sky"}
    with pytest.raises(UsageError, match="'sky' is neither an id nor a colour"):
        parse_mask_targets({"sky": 1})


def test_class_files(tmp_path):
    path = tmp_path / "classes.json"
    path.write_text(json.dumps(["nothing", "sky"]))
    assert read_class_file(path) == ({0: "nothing", 1: "sky"}, {})
    path.write_text(json.dumps({"7": {"name": "cow", "supercategory": "animal"}, "8": "sky"}))
    assert read_class_file(path) == ({7: "cow", 8: "sky"}, {"cow": "animal"})
    for wrong in ("", "3", '{"a": "sky"}', '{"1": 2}', '{"1": {"supercategory": "x"}}'):
        path.write_text(wrong)
        with pytest.raises(UsageError, match=r"classes\.json"):
            read_class_file(path)
