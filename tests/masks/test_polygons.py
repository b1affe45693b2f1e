from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from scipy import ndimage

from fiftyone_plugin.masks.polygons import mask_polygons, segment_polygons, trace_rings
from fiftyone_plugin.masks.segments import find_segments

from .strategies import masks


def rasterise(polygons, shape):
    """What pycocotools, and so annToMask, makes of polygons."""
    if not polygons:
        return np.zeros(shape, bool)
    rles = coco_mask.frPyObjects([polygon.ravel().tolist() for polygon in polygons], *shape)
    return coco_mask.decode(coco_mask.merge(rles)).astype(bool)


def signed_area(polygon):
    x, y = polygon.T
    return (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


@given(masks(max_classes=1))
def test_pycocotools_gives_the_mask_back_holes_and_all(mask):
    polygons = mask_polygons(mask > 0)
    assert np.array_equal(rasterise(polygons, mask.shape), mask > 0)
    assert len(polygons) == ndimage.label(mask)[1]
    # holes turn the other way: under the non-zero rule they are empty too, and the shoelace area is right
    assert sum(map(signed_area, polygons)) == (mask > 0).sum()


@given(masks())
def test_polygons_of_all_segments_of_a_mask(mask):
    segments = find_segments(mask, connectivity=8)
    numbers = segments.to_map()
    for i, polygons in enumerate(segment_polygons(segments), 1):
        assert np.array_equal(rasterise(polygons, mask.shape), numbers == i)


@given(masks(max_classes=1))
def test_rings_turn_at_every_point_and_lie_on_the_border(mask):
    numbers, n = ndimage.label(mask)
    for i in range(1, n + 1):
        inside = numbers == i
        rings = trace_rings(inside)
        # as many holes as 8-connected parts of the background, without the one around the frame
        holes = ndimage.label(~np.pad(inside, 1), np.ones((3, 3)))[1] - 1
        assert len(rings) == 1 + holes
        for ring in rings:
            steps = np.abs(np.roll(ring, -1, axis=0) - ring)
            assert ((steps > 0).sum(axis=1) == 1).all()
            assert ((steps[:, 0] > 0) != (np.roll(steps, -1, axis=0)[:, 0] > 0)).all()


def test_two_holes_behind_each_other_and_one_in_an_island():
    mask = np.ones((9, 15), bool)
    mask[3:6, 2:4] = mask[3:6, 6:8] = mask[2:7, 9:14] = False
    mask[3:6, 10:13] = True
    mask[4, 11] = False
    polygons = mask_polygons(mask)
    assert len(polygons) == 2
    assert np.array_equal(rasterise(polygons, mask.shape), mask)


@given(st.integers(0, 10_000), st.sampled_from([0.5, 1.0, 2.0, 4.0]))
def test_simplified_outlines_stay_within_the_tolerance(seed, tolerance):
    rng = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(rng.random((60, 80)), 4)
    mask = mask > np.quantile(mask, 0.6)
    again = rasterise(mask_polygons(mask, tolerance), mask.shape)
    framed = np.pad(mask, 1)  # the frame is an outline as well
    border = ndimage.binary_dilation(framed) ^ ndimage.binary_erosion(framed)
    distance = ndimage.distance_transform_edt(~border)[1:-1, 1:-1]
    # a pixel changes if its centre does: half a pixel's diagonal more than the outline moves
    assert distance[again != mask].max(initial=0) <= tolerance + 0.71


def test_simplified_outlines_are_shorter_and_nothing_vanishes():
    from skimage import data

    mask = data.horse() == 0
    exact, simple = mask_polygons(mask), mask_polygons(mask, 2)
    assert sum(map(len, simple)) < 0.2 * sum(map(len, exact))
    dot = np.zeros((5, 5), bool)
    dot[2, 2] = True
    assert np.array_equal(rasterise(mask_polygons(dot, 3), dot.shape), dot)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_tiny_images(shape):
    mask = np.ones(shape, bool)
    (polygon,) = mask_polygons(mask)
    assert len(polygon) == 4
    assert np.array_equal(rasterise([polygon], shape), mask)
    assert mask_polygons(~mask) == []
