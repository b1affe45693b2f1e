"""Masks to detections, edited as a person would in the App, and back."""

from __future__ import annotations

import numpy as np
import pytest

from fiftyone_plugin.dataset import editing
from fiftyone_plugin.dataset.editing.names import class_names, rename_classes
from fiftyone_plugin.errors import UsageError

from .conftest import State, check_fields, masks


def paint(sample, dataset, field="auto_detections"):
    """What FiftyOne itself draws of the detections, box by box."""
    height, width = sample.auto.get_mask().shape
    canvas = np.zeros((height, width), int)
    for detection in sample[field].detections:
        x, y, _, _ = detection.bounding_box
        top, left = round(y * height), round(x * width)
        h, w = detection.mask.shape
        canvas[top : top + h, left : left + w][detection.mask] = detection.class_id
    return canvas


def test_untouched_detections_come_back_to_the_pixel(labelled):
    before = State(labelled)
    made = editing.masks_to_detections(labelled, "auto", min_area=200)
    assert made.field == "auto_detections"
    assert made.samples == len(labelled)
    assert made.detections == sum(len(label.detections) for label in labelled.values("auto_detections"))
    for sample in labelled:
        mask, drawn = sample.auto.get_mask(), paint(sample, labelled)
        assert np.array_equal(drawn[drawn > 0], mask[drawn > 0])
        assert (drawn != mask).mean() < 0.05  # small regions are not handed out
    done = editing.detections_to_masks(labelled, "auto")
    assert done.changed == 0
    assert done.edit.summary["skipped"] == {}
    assert State(labelled) == before


def test_corrections_arrive_in_the_masks(fo, labelled):
    few = labelled.limit(3)
    before, old = State(labelled), masks(few)
    editing.masks_to_detections(few, "auto")
    samples = list(few)
    relabelled, deleted, drawn = samples
    big = max(relabelled.auto_detections.detections, key=lambda d: d.mask.sum())
    was = big.class_id
    big.label = "a new thing"
    relabelled.save()
    gone = max(deleted.auto_detections.detections, key=lambda d: d.mask.sum())
    deleted.auto_detections.detections.remove(gone)
    deleted.save()
    height, width = old[2].shape
    box = np.s_[round(height / 4) : round(height * 3 / 4), round(width / 4) : round(width * 3 / 4)]
    id_ = next(id_ for id_ in (3, 2, 1) if (old[2][box] != id_).any())  # one that changes something there
    drawn.auto_detections.detections.append(
        fo.Detection(
            label=f"class {id_}", bounding_box=[0.25, 0.25, 0.5, 0.5], mask=np.full((20, 20), 255, np.uint8)
        )
    )
    drawn.save()
    done = editing.detections_to_masks(labelled, "auto")
    assert done.changed == 3
    assert done.edit.summary["new_classes"] == ["a new thing"]
    assert class_names(labelled, "auto")[5] == "a new thing"
    check_fields(labelled)
    first, second, third = masks(labelled.select([s.id for s in samples], ordered=True))
    assert (first == 5).sum() == big.mask.sum()
    assert np.array_equal(np.where(first == 5, was, first), old[0])
    assert ((second == 0) & (old[1] > 0)).sum() == gone.mask.sum()
    assert np.array_equal(second[second > 0], old[1][second > 0])
    assert (third[box] == id_).all()
    again = editing.detections_to_masks(labelled, "auto")  # they were cut from masks that are not shown now
    assert again.changed == 0
    assert set(again.edit.summary["skipped"]) == {sample.id for sample in samples}
    editing.undo_edit(labelled, "auto")
    editing.undo_edit(labelled, "auto")
    assert State(labelled) == before
    assert editing.detections_to_masks(labelled, "auto").changed == 3


def test_names_that_changed_meanwhile_do_no_harm(labelled):
    old = masks(labelled)
    editing.masks_to_detections(labelled, "auto")
    rename_classes(labelled, "auto", {1: "sky", 2: "ground", 3: "ground"})
    assert editing.detections_to_masks(labelled, "auto").changed == 0
    assert class_names(labelled, "auto") == {1: "sky", 2: "ground", 3: "ground", 4: "class 4"}
    sample = labelled.match({"auto_classes": "class 4"}).first()
    for detection in sample.auto_detections.detections:
        detection.label = " sky "
    sample.save()
    editing.detections_to_masks(labelled, "auto")
    check_fields(labelled)
    assert set(np.unique(labelled[sample.id].auto.get_mask())) <= {0, 1, *range(1, 5)}
    assert labelled[sample.id].auto_classes[0] == "sky"
    others = [sample_id for sample_id in labelled.values("id") if sample_id != sample.id]
    kept = dict(zip(labelled.values("id"), old, strict=True))
    assert all(np.array_equal(labelled[i].auto.get_mask(), kept[i]) for i in others)


def test_hidden_classes_and_small_regions_stay_in_the_masks(labelled):
    editing.hide_classes(labelled, "auto", [1])
    editing.masks_to_detections(labelled, "auto", min_area=10_000)
    assert not any(d.class_id == 1 for label in labelled.values("auto_detections") for d in label.detections)
    for sample in labelled.iter_samples(autosave=True):
        sample.auto_detections.detections = []
    old = masks(labelled)
    editing.detections_to_masks(labelled, "auto")
    new = masks(labelled)
    assert all((b[a == 1] == 1).all() for a, b in zip(old, new, strict=True))
    assert any((b > 1).any() for b in new)
    assert sum((a != b).sum() for a, b in zip(old, new, strict=True)) > 10_000


def test_what_cannot_be_put_back_leaves_its_mask_alone(fo, labelled):
    editing.masks_to_detections(labelled.limit(2), "auto")
    sample, other = labelled.first(), labelled.last()
    sample.auto_detections.detections.append(fo.Detection(bounding_box=[0, 0, 1, 1]))
    sample.save()
    other["auto_detections"] = fo.Detections(detections=[fo.Detection(label="x", bounding_box=[0, 0, 1, 1])])
    other.save()
    done = editing.detections_to_masks(labelled, "auto")
    assert "has no label" in done.edit.summary["skipped"][sample.id]
    assert "not the one that was converted" in done.edit.summary["skipped"][other.id]
    assert done.changed == 0


def test_what_cannot_be_converted_says_why(labelled):
    editing.masks_to_detections(labelled.limit(1), "auto")
    for call, message in [
        (lambda: editing.masks_to_detections(labelled, "auto"), "'auto_detections' exists"),
        (
            lambda: editing.masks_to_detections(labelled, "auto", "auto", overwrite=True),
            "holds no detections",
        ),
        (lambda: editing.masks_to_detections(labelled, "auto", "1x"), "cannot be a field name"),
        (lambda: editing.masks_to_detections(labelled, "auto", "x", min_area=0), "at least 1"),
        (lambda: editing.detections_to_masks(labelled, "auto", "x"), "masks_to_detections first"),
    ]:
        with pytest.raises(UsageError, match=message):
            call()
    assert editing.masks_to_detections(labelled, "auto", overwrite=True).samples == len(labelled)
