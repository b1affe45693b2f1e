"""Touching objects apart: discs, what stays whole, and large parts that are cut at a reduced size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from fiftyone_plugin.masks.instances import split_touching


def discs(shape, *circles):
    """Return the (H, W) union of circles of (y, x, radius)."""
    y, x = np.indices(shape)
    return np.any([np.hypot(y - a, x - b) <= r for a, b, r in circles], axis=0).astype(np.uint16)


def of(objects, mask):
    """Return the objects of a part of the mask, without 0."""
    return set(np.unique(objects[mask > 0]).tolist())


@pytest.mark.parametrize("scale", [1, 3, 20])  # the last one is reduced before it is cut
def test_two_discs_that_touch_are_two_objects(scale):
    left, right = (20 * scale, 20 * scale, 15 * scale), (20 * scale, 48 * scale, 15 * scale)
    mask = discs((40 * scale, 70 * scale), left, right)
    objects = split_touching(mask)
    assert of(objects, mask) == {1, 2}
    assert np.array_equal(objects > 0, mask > 0)
    truth = np.indices(mask.shape)[1] > 34 * scale
    assert (objects == 1 + truth)[mask > 0].mean() > 0.99


def test_what_is_one_thing_stays_whole():
    bar = np.zeros((60, 200), np.uint16)
    bar[20:40, 10:190] = 3
    assert of(split_touching(bar), bar) == {1}
    person = discs((200, 120), (40, 60, 18), (110, 60, 35))  # head and trunk, with a neck
    person[50:80, 52:69] = 1
    assert of(split_touching(person), person) == {1}
    drop = discs((100, 160), (50, 40, 30)) | np.where(
        np.abs(np.indices((100, 160))[0] - 50) < (150 - np.indices((100, 160))[1]) / 5, 1, 0
    ).astype(np.uint16)
    assert of(split_touching(drop), drop) == {1}


def test_classes_and_parts_share_no_object():
    mask = discs((60, 200), (30, 30, 20), (30, 150, 20))
    mask[:, 100:] *= 5
    mask[30, 50:130] = 2  # a line between them
    objects = split_touching(mask)
    assert [of(objects, mask == k) for k in (1, 2, 5)] == [{1}, {2}, {3}]


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.uint16, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 2)))
def test_every_object_is_connected_and_of_one_label(mask):
    mask = mask.repeat(3, 0).repeat(3, 1)
    objects = split_touching(mask)
    assert np.array_equal(objects > 0, mask > 0)
    assert sorted(of(objects, mask)) == list(range(1, objects.max() + 1))
    for number, box in enumerate(ndimage.find_objects(objects), 1):
        inside = objects[box] == number
        assert len(np.unique(mask[box][inside])) == 1
        assert ndimage.label(inside)[1] == 1
