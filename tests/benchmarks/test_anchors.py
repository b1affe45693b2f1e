"""Published scores stand beside measured ones of the same protocol only."""

from __future__ import annotations

from benchmarks.anchors import ANCHORS, anchors_for, beside
from fiftyone_plugin.evaluation.protocols import PROTOCOLS


def test_what_was_published_is_of_a_protocol_that_can_be_measured_and_in_percent():
    for anchors in ANCHORS.values():
        for protocol, _, miou, accuracy in anchors:
            assert protocol in PROTOCOLS
            assert 1 < miou < (100 if accuracy is None else accuracy) <= 100


def test_they_are_found_by_the_name_of_the_folder_or_as_asked():
    known = anchors_for("Coco_Stuff_27", None, "count-hungarian")
    assert known == anchors_for("mine", "coco-stuff-27", "count-hungarian") == ANCHORS["coco-stuff-27"]
    text = beside(known)
    assert "45.3" in text
    assert "CAUSE, DINOv2 ViT-B/14" in text
    assert anchors_for("mine", None, "count-hungarian") == ()
    assert anchors_for("coco-stuff-27", None, "majority") == ()
    assert beside(()) == ""
