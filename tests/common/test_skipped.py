from __future__ import annotations

from fiftyone_plugin.common.skipped import Skipped


def test_what_was_left_out_is_one_line_with_its_reason():
    assert str(Skipped("a/b.jpg", "no mask")) == "a/b.jpg: no mask"
