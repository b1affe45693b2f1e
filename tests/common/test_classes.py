"""Lists of class names of whatever origin."""

from __future__ import annotations

import json

import pytest

from fiftyone_plugin.common.classes import read_class_names
from fiftyone_plugin.errors import UsageError


@pytest.mark.parametrize(
    ("document", "names", "groups"),
    [
        ({"1": "sky", "65535": "sea"}, {1: "sky", 65_535: "sea"}, {}),
        (["void", "sky"], {0: "void", 1: "sky"}, {}),
        ({"2": {"name": "cow", "supercategory": "animal"}}, {2: "cow"}, {"cow": "animal"}),
        ({}, {}, {}),
    ],
)
def test_the_three_ways_to_write_them(tmp_path, document, names, groups):
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "classes.json").write_text(json.dumps(document), encoding=encoding)
        assert read_class_names(tmp_path / "classes.json") == (names, groups)


@pytest.mark.parametrize(
    "content",
    ["5", "null", '"sky"', '{"a": "sky"}', '{"-1": "sky"}', '{"65536": "sky"}', '{"1": 2}', "[1]",
     '{"9' + "9" * 5000 + '": "x"}', "[" * 99_999, '{"1": NaN}', "{", '{"\u0661": "x"}'],
)  # fmt: skip
def test_what_is_none_is_one_line(tmp_path, content):
    path = tmp_path / "classes.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_class_names(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 600
