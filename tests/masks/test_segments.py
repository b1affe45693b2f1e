from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from scipy import ndimage

from fiftyone_plugin.masks.segments import find_runs, find_segments, rle_counts, segment_rles

from .strategies import masks

EIGHT = np.ones((3, 3), int)


def reference_segments(mask, structure=None):
    """Component by component with scipy: a set of (label, pixels)."""
    found = set()
    for label in np.unique(mask[mask > 0]):
        numbers, n = ndimage.label(mask == label, structure)
        found |= {(int(label), (numbers == i).tobytes()) for i in range(1, n + 1)}
    return found


def as_set(segments):
    numbers = segments.to_map()
    return {(int(label), (numbers == i).tobytes()) for i, label in enumerate(segments.label, 1)}


@given(masks())
def test_runs_cover_the_mask_and_stay_in_their_columns(mask):
    runs = find_runs(mask)
    assert np.array_equal(runs.paint(runs.label), mask)
    height = mask.shape[0]
    assert np.array_equal(runs.start // height, (runs.start + runs.length - 1) // height)


@given(masks(), st.sampled_from([4, 8]))
def test_components_are_those_of_scipy(mask, connectivity):
    segments = find_segments(mask, connectivity=connectivity)
    expected = reference_segments(mask, EIGHT if connectivity == 8 else None)
    assert as_set(segments) == expected
    assert len(segments) == len(expected)
    assert (np.diff(segments.label) >= 0).all()


@given(masks())
def test_rle_area_and_box_are_those_of_pycocotools(mask):
    segments = find_segments(mask)
    numbers = segments.to_map()
    for i, rle in enumerate(segment_rles(segments)):
        expected = coco_mask.encode(np.asfortranarray(numbers == i + 1))
        assert rle["counts"] == expected["counts"].decode()
        assert rle["size"] == expected["size"]
        assert segments.area[i] == coco_mask.area(expected)
        assert segments.box[i].tolist() == coco_mask.toBbox(expected).tolist()


@given(masks())
def test_whole_classes_are_one_segment_each(mask):
    segments = find_segments(mask, whole=None)
    assert segments.label.tolist() == np.unique(mask[mask > 0]).tolist()
    assert segments.area.tolist() == [int((mask == label).sum()) for label in segments.label]


@given(masks(), masks(max_classes=3))
def test_given_instances(mask, instances):
    height, width = np.minimum(mask.shape, instances.shape)
    mask, instances = mask[:height, :width], instances[:height, :width]
    segments = find_segments(mask, whole=[2], instances=instances)
    numbers = segments.to_map()
    expected = set()
    for label in np.unique(mask[mask > 0]):
        if label == 2:
            expected.add((2, 0, (mask == 2).tobytes()))
            continue
        for instance in np.unique(instances[(mask == label) & (instances > 0)]):
            expected.add((int(label), int(instance), ((mask == label) & (instances == instance)).tobytes()))
        parts, n = ndimage.label((mask == label) & (instances == 0))
        expected |= {(int(label), 0, (parts == i).tobytes()) for i in range(1, n + 1)}
    found = {
        (int(label), int(instance), (numbers == i).tobytes())
        for i, (label, instance) in enumerate(zip(segments.label, segments.instance, strict=True), 1)
    }
    assert found == expected


def test_as_many_classes_as_a_mask_can_hold():
    mask = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    segments = find_segments(mask)
    assert segments.label.tolist() == list(range(1, 65_536))
    assert (segments.area == 1).all()
    assert segments.box[:, :2].tolist() == [[i % 256, i // 256] for i in range(1, 65_536)]
    rle = segment_rles(segments)[-1]
    assert coco_mask.decode(rle)[255, 255] == 1
    assert coco_mask.area(rle) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_images_of_one_pixel_in_a_row(shape):
    segments = find_segments(np.ones(shape, np.uint8))
    assert segments.box.tolist() == [[0, 0, shape[1], shape[0]]]
    assert [counts.tolist() for counts in rle_counts(segments)] == [[0, shape[0] * shape[1]]]
    assert len(find_segments(np.zeros(shape, np.uint8))) == 0


def test_runs_that_go_on_in_the_next_column_are_one_count():
    mask = np.array([[0, 1, 1], [1, 1, 0]], np.uint8)
    assert [counts.tolist() for counts in rle_counts(find_segments(mask))] == [[1, 4, 1]]
