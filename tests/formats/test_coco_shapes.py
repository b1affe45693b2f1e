"""Segmentations are what pycocotools makes of them, as far as it can be trusted with them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.formats.coco_shapes import decode_segmentation, fill_polygon, rle_counts

from ..masks.strategies import masks


def reference(ring, height, width):
    (rle,) = coco_mask.frPyObjects([np.ravel(ring).tolist()], height, width)
    return coco_mask.decode(rle).astype(bool)


def points(far):
    number = st.one_of(
        st.integers(-far, far),
        st.floats(-far, far),
        st.floats(-9, 40),
        st.integers(-9, 40).map(lambda n: n / 5),
    )
    return st.lists(st.tuples(number, number), min_size=3, max_size=9)


@given(points(5000), st.integers(1, 30), st.integers(1, 30))
@settings(max_examples=1500)
def test_polygons_are_filled_as_pycocotools_fills_them(ring, height, width):
    filled = fill_polygon(np.array(ring, float), height, width)
    np.testing.assert_array_equal(filled, reference(ring, height, width))


@pytest.mark.parametrize("reach", [1e5, 1e7, 1e9, 2**31, 1e12])
def test_outlines_that_reach_far_out(reach):
    # half of the plane, the image's left part of it
    half = [[-reach, -reach, 10, -reach, 10, reach, -reach, reach]]
    expected = np.zeros((20, 30), bool)
    expected[:, :10] = True
    np.testing.assert_array_equal(decode_segmentation(half, 20, 30), expected)
    assert decode_segmentation([[-reach, -reach, reach, -reach, 0, reach]], 20, 30).all()
    assert not decode_segmentation([[reach, 0, reach, 5, reach - 9, 5]], 20, 30).any()
    # a diagonal from corner to corner of the plane
    triangle = decode_segmentation([[-reach, -reach, reach, reach, -reach, reach]], 20, 20)
    np.testing.assert_array_equal(triangle[1:, 1:], np.tri(20, dtype=bool)[1:, 1:])


def test_many_long_edges_in_little_memory():
    ring = np.array([(x, y) for i in range(500) for x, y in ((-1e6, i), (1e6, i + 0.5))])
    filled = fill_polygon(ring, 50, 40)
    assert filled.shape == (50, 40)
    zigzag = [[value for i in range(3000) for value in (-1e9, i, 1e9, i)]]
    with pytest.raises(UsageError, match="cross the image too often"):
        decode_segmentation(zigzag, 100, 1_000_000)


@pytest.mark.parametrize(
    "square",
    [
        [[1, 1, 4, 1, 4, 4, 1, 4]],
        [[1, 1], [4, 1], [4, 4], [1, 4]],
        [[[1, 1], [4, 1], [4, 4], [1, 4]]],
        [1, 1, 4, 1, 4, 4, 1, 4],
        [[1, 1, 4, 1, 4, 4, 1, 4], [0, 0, 1, 1]],
        {"size": [6, 5], "counts": [7, 3, 3, 3, 3, 3, 8]},
    ],
)
def test_every_way_to_write_a_square(square):
    expected = np.zeros((6, 5), bool)
    expected[1:4, 1:4] = True
    np.testing.assert_array_equal(decode_segmentation(square, 6, 5), expected)


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([[float("nan"), 0, 1, 1, 2, 0]], "no numbers"),
        ([[float("inf"), 0, 1, 1, 2, 0]], "no numbers"),
        ([[1e308, 0, 1, 1, 2, 0]], "as far away as 1e\\+308"),
        ([[10**400, 0, 1, 1, 2, 0]], "too large"),
        ([["1", "0", "1", "1", "2", "0"]], "not made of numbers"),
        ([[True, 0, 1, 1, 2, 0]], "not made of numbers"),
        ([[0, 0, 1, 1, 2, 0, 5]], r"odd number of coordinates \(7\)"),
        ([[[0, 0], [1, 1], [2]]], "not made of numbers"),
        ([None], "not made of numbers"),
        (None, "but nothing"),
        ("text", "but a str"),
        (3, "but a int"),
        ({}, "without a size"),
        ({"size": [6, 5]}, "counts are nothing"),
        ({"size": [6, 5], "counts": 3}, "counts are a int"),
        ({"size": [6.0, 5.0], "counts": [30]}, "without a size"),
        ({"size": [5, 6], "counts": [30]}, r"size \[5, 6\] in an image of \[6, 5\]"),
        ({"size": [6, 5], "counts": [29]}, "do not make up"),
        ({"size": [6, 5], "counts": [31]}, "do not make up"),
        ({"size": [6, 5], "counts": []}, "do not make up"),
        ({"size": [6, 5], "counts": [40, -10]}, "negative"),
        ({"size": [6, 5], "counts": [2**32 + 30]}, "do not make up"),
        ({"size": [6, 5], "counts": [30.0]}, "counts are a list"),
        ({"size": [6, 5], "counts": ["30"]}, "counts are a list"),
        ({"size": [6, 5], "counts": ""}, "malformed RLE"),
        ({"size": [6, 5], "counts": "PPPPPPPPPPPPPPPP"}, "malformed RLE"),
        ({"size": [6, 5], "counts": "oooooooooooooo0"}, "malformed RLE"),
        ({"size": [6, 5], "counts": "\u00e9"}, "malformed RLE"),
        ({"size": [6, 5], "counts": "0\n"}, "malformed RLE"),
        ({"size": [6, 5], "counts": "00000"}, "do not make up"),
        ({"size": [6, 5], "counts": "O"}, "negative"),
    ],
)
def test_what_is_no_segmentation(segmentation, reason):
    with pytest.raises(UsageError, match=reason):
        decode_segmentation(segmentation, 6, 5)


@given(masks())
def test_strings_of_pycocotools_are_read(mask):
    for value in np.unique(mask):
        rle = coco_mask.encode(np.asfortranarray(mask == value, np.uint8))
        runs = rle_counts(rle["counts"])
        inside = np.arange(len(runs)) % 2 == 1
        again = np.repeat(inside, runs).reshape(mask.shape, order="F")
        np.testing.assert_array_equal(again, mask == value)
        text = {"size": list(mask.shape), "counts": rle["counts"].decode()}
        np.testing.assert_array_equal(decode_segmentation(text, *mask.shape), mask == value)
