from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from fiftyone_plugin.masks.cleaning import remove_small

from .strategies import masks


def components(mask):
    """Component number of every pixel, and number -> (label, area), one label at a time."""
    numbers, table = np.zeros(mask.shape, int), {}
    for label in np.unique(mask):
        parts, n = ndimage.label(mask == label)
        for i in range(1, n + 1):
            table[len(table)] = (int(label), int((parts == i).sum()))
            numbers[parts == i] = len(table) - 1
    return numbers, table


def slow_merge(mask, min_area):
    """Pixel by pixel, what the documentation says."""
    numbers, table = components(mask)
    label = {i: value for i, (value, _) in table.items()}
    small = {i for i, (value, area) in table.items() if value and area < min_area}
    borders = {i: Counter() for i in table}
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            for v, u in ((y + 1, x), (y, x + 1)):
                if v < mask.shape[0] and u < mask.shape[1] and numbers[y, x] != numbers[v, u]:
                    borders[numbers[y, x]][numbers[v, u]] += 1
                    borders[numbers[v, u]][numbers[y, x]] += 1
    while True:
        merged = {}
        for i in small:
            shares = Counter()
            for other, sides in borders[i].items():
                if other not in small:
                    shares[label[other]] += sides
            if shares:
                merged[i] = min(shares, key=lambda value: (-shares[value], value))
        if not merged:
            break
        label |= merged
        small -= merged.keys()
    label |= dict.fromkeys(small, 0)
    return np.vectorize(label.get, otypes=[mask.dtype])(numbers)


@given(masks(max_side=12), st.integers(0, 12))
def test_merging_follows_the_longest_border(mask, min_area):
    assert np.array_equal(remove_small(mask, min_area, merge=True), slow_merge(mask, min_area))


@given(masks(), st.integers(0, 30))
def test_dropping_leaves_large_components_alone(mask, min_area):
    cleaned = remove_small(mask, min_area)
    numbers, table = components(mask)
    kept = np.array([label if area >= min_area else 0 for label, area in table.values()])
    assert np.array_equal(cleaned, kept[numbers])
    assert cleaned.dtype == mask.dtype


def test_a_chain_of_small_components_is_taken_over_link_by_link():
    mask = np.array([[1, 1, 1, 2, 3, 4]], np.uint16)
    assert remove_small(mask, 2, merge=True).tolist() == [[1] * 6]
    assert remove_small(mask, 2).tolist() == [[1, 1, 1, 0, 0, 0]]
    assert remove_small(mask, 4, merge=True).tolist() == [[0] * 6]
