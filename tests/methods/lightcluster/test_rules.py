"""Foreground rules against slow loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.features.sampling import border_patches
from fiftyone_plugin.methods.lightcluster.levels import (
    FOREGROUND_RULES,
    foreground_by_majority,
    foreground_clusters,
    soft_foreground,
)


@given(st.integers(1, 9), st.integers(1, 9))
def test_border_is_the_outermost_ring(height, width):
    border = border_patches(height, width).reshape(height, width)
    for y in range(height):
        for x in range(width):
            assert border[y, x] == (y in (0, height - 1) or x in (0, width - 1))


def slow_decision(labels, k, border, attention, rule, ratio) -> list[bool]:
    decided = []
    overall = sum(map(bool, border)) / len(border)
    for cluster in range(k):
        inside = [i for i, label in enumerate(labels) if label == cluster]
        if not inside:
            decided.append(False)
            continue
        rate = sum(bool(border[i]) for i in inside) / len(inside)
        looked_at = sum(float(attention[i]) for i in inside) / len(inside)
        holds = {"border": rate < ratio * overall, "attention": looked_at > 1.0}
        holds["both"] = holds["border"] and holds["attention"]
        decided.append(holds[rule])
    return decided


@settings(max_examples=200)
@given(
    st.integers(1, 60).flatmap(
        lambda n: st.tuples(
            hnp.arrays(np.int64, n, elements=st.integers(0, 4)),
            hnp.arrays(bool, n),
            # eighths: sums are exact, so that rounding decides no tie
            hnp.arrays(np.float64, n, elements=st.integers(0, 24).map(lambda v: v / 8)),
        )
    ),
    st.sampled_from(FOREGROUND_RULES),
    st.sampled_from([0.25, 0.5, 1.0]),
)
def test_rules_equal_a_slow_loop(data, rule, ratio):
    labels, border, attention = data
    found = foreground_clusters(labels, 6, border, attention, rule, ratio)
    assert found.dtype == bool
    assert found.tolist() == slow_decision(labels, 6, border, attention, rule, ratio)


def test_ties_are_background():
    # every cluster touches the border as much as the average: ratio 1 is not below
    labels, border = np.array([0, 0, 1, 1]), np.array([True, False, True, False])
    assert not foreground_clusters(labels, 2, border, border_ratio=1.0).any()
    # attention of exactly the mean is not above it
    assert not foreground_clusters(labels, 2, border, np.ones(4), "attention").any()


def test_rules_are_checked():
    labels, border = np.zeros(4, int), np.ones(4, bool)
    with pytest.raises(UsageError, match="unknown foreground rule 'edge'"):
        foreground_clusters(labels, 1, border, rule="edge")
    for rule in ("attention", "both"):
        with pytest.raises(UsageError, match="needs the CLS attention"):
            foreground_clusters(labels, 1, border, rule=rule)


@given(
    st.integers(0, 60).flatmap(
        lambda n: st.tuples(hnp.arrays(np.int64, n, elements=st.integers(0, 4)), hnp.arrays(bool, n))
    )
)
def test_majority_equals_a_slow_loop(data):
    labels, coarser = data
    found = foreground_by_majority(labels, 6, coarser)
    for cluster in range(6):
        inside = [bool(f) for label, f in zip(labels, coarser, strict=True) if label == cluster]
        assert found[cluster] == (2 * sum(inside) > len(inside))


@settings(max_examples=200)
@given(
    st.tuples(st.integers(1, 20), st.integers(2, 6)).flatmap(
        lambda shape: st.tuples(
            hnp.arrays(np.float32, shape, elements=st.floats(0, 4, width=32)),
            hnp.arrays(bool, shape[1]),
        )
    ),
    st.floats(0.01, 2),
)
def test_soft_foreground_flips_exactly_where_the_hard_decision_does(data, temperature):
    distances, foreground = data
    assume(foreground.any())
    assume(not foreground.all())
    soft = soft_foreground(distances, foreground, temperature)
    assert soft.dtype == np.float32
    assert ((soft >= 0) & (soft <= 1)).all()
    for row, probability in zip(distances.astype(np.float64), soft, strict=True):
        margin = row[~foreground].min() - row[foreground].min()
        if abs(margin) > 1e-5:  # beyond the rounding of float32
            assert (probability > 0.5) == foreground[row.argmin()]
        if margin == 0:
            assert probability == 0.5
        assert probability == pytest.approx(1 / (1 + np.exp(-margin / temperature)), abs=1e-5)


@pytest.mark.parametrize("value", [False, True])
def test_soft_foreground_is_constant_where_all_centres_agree(value):
    soft = soft_foreground(np.random.default_rng(0).random((7, 3)), np.full(3, value), 0.1)
    assert soft.tolist() == [float(value)] * 7


def test_soft_foreground_does_not_overflow():
    distances = np.array([[0.0, 1e6], [1e6, 0.0]], np.float32)
    with np.errstate(all="raise"):
        soft = soft_foreground(distances, np.array([True, False]), 1e-3)
    assert soft[0] > 0.999
    assert soft[1] < 0.001
