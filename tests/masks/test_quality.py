from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fiftyone_plugin.masks.quality import confidence_map, image_quality, margin, segment_quality

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
def test_the_quality_of_an_image_is_that_of_its_segments_by_area(scores, seed):
    agreement = np.random.default_rng(seed).random(len(scores)).astype(np.float32)
    for given_agreement in (None, agreement):
        found = segment_quality(scores, given_agreement)
        winner = scores.argmax(0)
        total = 0.0
        for label in range(len(scores)):
            inside = winner == label
            if not inside.any():
                assert np.isnan(found[label])
                continue
            expected = margin(scores)[inside].mean() if given_agreement is None else agreement[label]
            assert found[label] == pytest.approx(expected, abs=1e-6)
            total += expected * inside.mean()
        assert image_quality(scores, given_agreement) == pytest.approx(total, abs=1e-6)
