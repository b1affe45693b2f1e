from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fiftyone_plugin.masks.quality import (
    IMAGE,
    SEGMENT,
    confidence_map,
    image_measures,
    image_quality,
    margin,
    segment_quality,
    soft_dice,
)

maps = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
    elements=st.floats(0.0078125, 1, width=32),
).map(lambda a: a / a.sum(0))


@given(maps)
@settings(max_examples=60)
def test_margin_is_the_lead_of_the_best_class(scores):
    found = margin(scores)
    assert found.dtype == np.float32
    for y in range(scores.shape[1]):
        for x in range(scores.shape[2]):
            ranked = sorted(scores[:, y, x].tolist(), reverse=True)
            assert found[y, x] == pytest.approx(ranked[0] - ranked[1] if len(ranked) > 1 else 1, abs=1e-6)
    assert image_quality(scores) == pytest.approx(found.mean(), abs=1e-6)
    assert 0 <= image_quality(scores) <= 1


@given(maps)
@settings(max_examples=30)
def test_the_map_is_the_margin_in_255_steps_whatever_the_order_of_classes(scores):
    np.testing.assert_allclose(confidence_map(scores) / 255, margin(scores), atol=0.5 / 255 + 1e-6)
    np.testing.assert_array_equal(confidence_map(scores[::-1]), confidence_map(scores))
    assert confidence_map(scores).dtype == np.uint8


def test_certain_and_undecided_images():
    certain, undecided = np.zeros((2, 4, 4), np.float32), np.full((2, 4, 4), 0.5, np.float32)
    certain[0] = 1
    assert image_quality(certain) == 1
    assert image_quality(undecided) == 0
    assert image_quality(certain[:1]) == 1


@given(maps, st.integers(0, 99))
@settings(max_examples=40)
def test_segments_are_weighed_as_the_numbers_say(scores, seed):
    agreement = np.random.default_rng(seed).random(len(scores)).astype(np.float32)
    margins, estimates = segment_quality(scores), segment_quality(scores, agreement)
    winner, roots, means = scores.argmax(0), 0.0, np.zeros(2)
    for label in range(len(scores)):
        inside = winner == label
        if not inside.any():
            assert np.isnan(margins[label])
            assert np.isnan(estimates[label])
            continue
        assert margins[label] == pytest.approx(margin(scores)[inside].mean(), abs=1e-6)
        dice = 2 * scores[label][inside].sum() / (inside.sum() + scores[label].sum())
        odds = [(value + 0.02) / (1 - value + 0.02) for value in (dice, agreement[label])]
        constant, of_dice, of_agreement = SEGMENT
        expected = np.exp(constant) * odds[0] ** of_dice * odds[1] ** of_agreement
        assert estimates[label] == pytest.approx(expected / (1 + expected), abs=1e-5)
        root = np.sqrt(inside.sum())
        roots, means = roots + root, means + root * np.array([agreement[label], dice])
    n = len(np.unique(winner))
    measures = image_measures(scores, agreement)
    assert measures == pytest.approx([*means / roots, min(n, 8), float(n > 1)], abs=1e-5)
    expected = 1 / (1 + np.exp(-np.dot([1, *measures], IMAGE)))
    assert image_quality(scores, agreement) == pytest.approx(expected, abs=1e-6)


@given(maps, st.integers(0, 99))
@settings(max_examples=30)
def test_of_lines_the_agreement_is_all_that_is_known(scores, seed):
    agreement = np.random.default_rng(seed).random(len(scores)).astype(np.float32)
    present = np.unique(scores.argmax(0))
    np.testing.assert_array_equal(segment_quality(scores, agreement, lines=True)[present], agreement[present])
    expected = agreement[present].mean(dtype=np.float64)
    assert image_quality(scores, agreement, lines=True) == pytest.approx(expected, abs=1e-7)


def test_what_other_images_bear_out_and_what_is_certain_is_better():
    certain = np.zeros((2, 4, 4), np.float32)
    certain[0, :2] = certain[1, 2:] = 1
    doubtful = certain * 0.4 + 0.3
    borne, alone = np.array([0.8, 0.7]), np.array([0.2, 0.3])
    assert image_quality(certain, borne) > image_quality(doubtful, borne) > image_quality(doubtful, alone)
    assert (segment_quality(certain, borne) > segment_quality(doubtful, borne)).all()
    assert (segment_quality(doubtful, borne) > segment_quality(doubtful, alone)).all()
    np.testing.assert_allclose(soft_dice(certain), 1)
