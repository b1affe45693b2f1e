"""Resizing of scores against a slow bilinear loop and torch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiftyone_plugin.masks.upsample import fit_within, resize_scores


def slow_bilinear(scores: np.ndarray, height: int, width: int) -> np.ndarray:
    """Every pixel's centre, mapped into the source with pixel centres aligned; outside, the edge repeats."""
    n, h, w = scores.shape
    out = np.zeros((n, height, width))
    for y in range(height):
        for x in range(width):
            sy, sx = (y + 0.5) * h / height - 0.5, (x + 0.5) * w / width - 0.5
            y0, x0 = int(np.floor(sy)), int(np.floor(sx))
            for dy in (0, 1):
                for dx in (0, 1):
                    weight = (1 - abs(sy - y0 - dy)) * (1 - abs(sx - x0 - dx))
                    iy, ix = min(max(y0 + dy, 0), h - 1), min(max(x0 + dx, 0), w - 1)
                    out[:, y, x] += weight * scores[:, iy, ix]
    return out


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(0, 15), st.integers(0, 15))
def test_enlarging_is_bilinear(n, h, w, more_rows, more_columns):
    scores = np.random.default_rng(h * 10 + w).random((n, h, w)).astype(np.float32)
    found = resize_scores(scores, h + more_rows, w + more_columns)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, slow_bilinear(scores, h + more_rows, w + more_columns), atol=1e-5)


def test_enlarging_is_torchs():
    torch = pytest.importorskip("torch")
    scores = np.random.default_rng(0).random((4, 32, 32)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(scores)[None], size=(427, 640), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(resize_scores(scores, 427, 640), expected[0].numpy(), atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20), st.integers(1, 40), st.integers(1, 40))
def test_sums_and_range_are_kept(n, h, w, height, width):
    scores = np.random.default_rng(n).random((n, h, w)).astype(np.float32)
    scores /= scores.sum(0)
    found = resize_scores(scores, height, width)
    assert found.shape == (n, height, width)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
    assert found.min() >= -1e-6
    assert found.max() <= 1 + 1e-6


def test_shrinking_keeps_the_mass():
    """A plain bilinear look-up at every eighth pixel would miss the single bright one."""
    scores = np.zeros((1, 64, 64), np.float32)
    scores[0, 21, 42] = 1
    small = resize_scores(scores, 8, 8)
    assert small.sum() * 64 == pytest.approx(1, rel=0.05)
    assert np.unravel_index(small[0].argmax(), (8, 8)) == (21 // 8, 42 // 8)


def test_the_same_size_is_the_same():
    scores = np.random.default_rng(0).random((2, 9, 7)).astype(np.float32)
    np.testing.assert_array_equal(resize_scores(scores, 9, 7), scores)
    assert resize_scores(scores.astype(np.float64), 9, 7).dtype == np.float32


@given(st.integers(1, 30_000), st.integers(1, 30_000), st.one_of(st.none(), st.integers(1, 1000)))
def test_fit_within(height, width, side):
    found = fit_within(height, width, side)
    assert min(found) >= 1
    if side is None or max(height, width) <= side:
        assert found == (height, width)
    else:
        assert max(found) == side
        scale = side / max(height, width)
        assert abs(found[0] - max(1, height * scale)) <= 0.5 + 1e-6
        assert abs(found[1] - max(1, width * scale)) <= 0.5 + 1e-6
