"""Regions against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fiftyone_plugin.images.boxes import expand_box
from fiftyone_plugin.masks.regions import connected_regions, region_boxes

measure = pytest.importorskip("skimage.measure")

masks = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14).flatmap(
    lambda shape: st.one_of(
        hnp.arrays(bool, shape), hnp.arrays(bool, shape, elements=st.integers(0, 3).map(lambda v: v == 0))
    )
)


@settings(max_examples=300, deadline=None)
@given(masks, st.sampled_from([0.0, 0.01, 0.05, 0.2, 0.5, 1.0]), st.sampled_from([None, 1, 2, 5]))
def test_equals_scikit_image(mask, min_area, max_regions):
    reference = measure.label(mask, connectivity=2)
    # by falling area; regionprops counts in row-major order, and sorting is stable
    props = sorted(measure.regionprops(reference), key=lambda region: -region.area)
    large = [region for region in props if region.area >= min_area * mask.size]
    expected = (large or props[:1])[:max_regions]

    found = connected_regions(mask, min_area, max_regions)
    assert found.shape == mask.shape
    assert found.dtype == np.int32
    assert found.max(initial=0) == len(expected)
    for number, region in enumerate(expected, start=1):
        np.testing.assert_array_equal(found == number, reference == region.label)
    assert region_boxes(found) == [region.bbox for region in expected]


def test_nothing_is_no_region():
    found = connected_regions(np.zeros((5, 7), bool))
    assert not found.any()
    assert region_boxes(found) == []


def test_diagonal_neighbours_are_one_region():
    assert connected_regions(np.eye(6, dtype=bool), 0).max() == 1


def test_none_is_large_enough_so_the_largest_is_taken():
    mask = np.zeros((100, 100), bool)
    mask[0, 0] = mask[50, 50:53] = mask[99, 0:2] = True
    found = connected_regions(mask, min_area=0.01)
    assert found.max() == 1
    np.testing.assert_array_equal(
        found > 0, (np.arange(100) == 50)[:, None] & np.isin(np.arange(100), [50, 51, 52])
    )


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
        lambda shape: st.tuples(
            st.just(shape),
            st.tuples(st.integers(0, shape[0] - 1), st.integers(0, shape[1] - 1)).flatmap(
                lambda corner: st.tuples(
                    st.just(corner),
                    st.tuples(st.integers(corner[0] + 1, shape[0]), st.integers(corner[1] + 1, shape[1])),
                )
            ),
        )
    ),
    st.floats(0, 2),
)
def test_boxes_grow_and_stay_inside(data, context):
    shape, ((y0, x0), (y1, x1)) = data
    top, left, bottom, right = expand_box((y0, x0, y1, x1), shape, context)
    assert 0 <= top <= y0 < y1 <= bottom <= shape[0]
    assert 0 <= left <= x0 < x1 <= right <= shape[1]
    if top > 0:
        assert abs((y0 - top) - context * (y1 - y0)) <= 0.5
    if right < shape[1]:
        assert abs((right - x1) - context * (x1 - x0)) <= 0.5
