"""The labels of large images against the scores of all labels at their size."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiftyone_plugin.masks.argmax import winners
from fiftyone_plugin.masks.upsample import resize_scores

# the module, whose name is also that of its function
module = sys.modules[winners.__module__]


@pytest.fixture(scope="module", autouse=True)
def nothing_is_small():
    """Small maps too go the way of large ones, and blocks end within them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROW", 0)
        patch.setattr(module, "BLOCK", 50)
        yield


def make_scores(kind: str, shape: tuple[int, int, int], seed: int) -> np.ndarray:
    scores = np.random.default_rng(seed).random(shape).astype(np.float32)
    if kind == "ties":
        return (np.round(scores * 2) / 2).astype(np.float32)
    if kind == "nearly equal":
        return (0.5 + 3e-7 * scores).astype(np.float32)
    if kind == "certain":
        return (scores == scores.max(0)).astype(np.float32)
    if kind == "negative":
        return (100 * (scores - 0.7)).astype(np.float32)
    return scores


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["random", "ties", "nearly equal", "certain", "negative"]),
    st.tuples(st.integers(1, 6), st.integers(1, 12), st.integers(1, 12)),
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(0, 2**32 - 1),
)
def test_equal_to_all_scores_at_full_size(kind, shape, height, width, seed):
    scores = make_scores(kind, shape, seed)
    found = winners(scores, height, width)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, resize_scores(scores, height, width).argmax(0))


@pytest.mark.parametrize("size", [(1, 900), (900, 1), (333, 251), (512, 512), (37, 900)])
@pytest.mark.parametrize("grid", [(1, 1), (37, 37), (2, 31), (17, 3)])
def test_odd_sizes(size, grid):
    scores = make_scores("random", (9, *grid), 0)
    np.testing.assert_array_equal(winners(scores, *size), resize_scores(scores, *size).argmax(0))


def test_scores_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(module, "ROW", 1 << 15)  # label by label
    scores = make_scores("random", (3, 20, 30), 0)
    before = scores.copy()
    winners(scores, 20, 30)
    np.testing.assert_array_equal(scores, before)


def test_many_labels_need_two_bytes():
    scores = make_scores("random", (300, 3, 4), 1)
    found = winners(scores, 40, 50)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, resize_scores(scores, 40, 50).argmax(0))


def test_memory_does_not_grow_with_the_number_of_labels():
    """NumPy tells tracemalloc what it takes; Pillow's rows are small here."""
    import tracemalloc

    peaks = []
    for labels in (5, 40):
        scores = make_scores("random", (labels, 16, 16), 2)
        tracemalloc.start()
        winners(scores, 400, 600)
        peaks.append(tracemalloc.get_traced_memory()[1] / 240e3)
        tracemalloc.stop()
    assert peaks[1] < 8  # bytes a pixel, all at once would be 160
    assert peaks[1] < peaks[0] + 5
