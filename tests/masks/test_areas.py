"""Area of classes, against counting pixels one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fiftyone_plugin.masks.areas import class_shares
from fiftyone_plugin.runs.samples import SampleRow, total_areas

MASKS = arrays(
    np.uint16,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.sampled_from([0, 1, 2, 9, 300]),
)


def row(mask, name="a"):
    classes, shares = class_shares(mask)
    return SampleRow(name, name, height=mask.shape[0], width=mask.shape[1], classes=classes, shares=shares)


@given(MASKS)
def test_shares_are_counted_pixels(mask):
    pixels = [int(value) for line in mask for value in line]
    expected = {k: pixels.count(k) / len(pixels) for k in sorted(set(pixels) - {0})}
    found = row(mask).class_shares
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=5e-5 + 1e-12)  # four decimals


@given(st.lists(MASKS, min_size=1, max_size=4))
def test_totals_weigh_images_by_their_pixels(masks):
    rows = [row(mask, str(i)) for i, mask in enumerate(masks)]
    rows.append(SampleRow("broken", status="skipped", width=50, height=50))
    everything = np.concatenate([mask.ravel() for mask in masks])
    areas = total_areas(rows)
    assert list(areas) == [k for k in np.unique(everything).tolist() if k]
    for id_, share in areas.items():
        assert share == pytest.approx((everything == id_).mean(), abs=1.1e-4)


def test_rows_of_earlier_versions_have_no_areas():
    assert total_areas([SampleRow("a", "a", classes=(1, 2), width=4, height=4)]) == {}
    assert total_areas([]) == {}
