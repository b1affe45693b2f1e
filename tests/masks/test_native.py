"""Scores to class ids at native size, on the CPU and as on any other device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fiftyone_plugin.masks.argmax import winners
from fiftyone_plugin.masks.native import at_most, device_winners, native_labels
from fiftyone_plugin.masks.scores import LabelScores

from .scenes import random_scores


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 128))
def test_thinned_values_are_some_of_the_values_and_few_enough(height, width, side):
    values = np.arange(height * width).reshape(height, width)
    thin = at_most(values, side)
    assert 1 <= thin.shape[0] <= side
    assert 1 <= thin.shape[1] <= side
    assert np.isin(thin, values).all()
    if max(height, width) <= side:
        np.testing.assert_array_equal(thin, values)


@settings(max_examples=80, deadline=None)
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 12), st.integers(1, 12)),
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 3000),
)
def test_strips_on_a_device_are_bilinear(shape, height, width, strip):
    """Where rounding decides, the winner need not be the same, but its score is."""
    scores = random_scores(*shape)
    found = device_winners(torch.from_numpy(scores), height, width, strip).numpy()
    shrinks = height < shape[1] or width < shape[2]
    full = torch.nn.functional.interpolate(
        torch.from_numpy(scores)[None], size=(height, width), mode="bilinear", antialias=shrinks
    )[0].numpy()
    assert found.dtype == np.uint8
    assert found.shape == (height, width)
    if not (shrinks and (height > shape[1] or width > shape[2])):  # one axis at a time is not both at once
        won = np.take_along_axis(full, found[None].astype(int), 0)[0]
        np.testing.assert_allclose(won, full.max(0), atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(480, 640), (333, 251), (20, 900), (5, 5)])
def test_strips_on_a_device_give_the_labels_of_the_cpu(height, width):
    scores = random_scores(7, 32, 32)
    found = device_winners(torch.from_numpy(scores), height, width, strip=50_000)
    assert (found.numpy() == winners(scores, height, width)).mean() >= 0.999
    assert torch.equal(found, device_winners(torch.from_numpy(scores), height, width))


def test_more_than_256_labels_on_a_device():
    scores = random_scores(300, 3, 4)
    found = device_winners(torch.from_numpy(scores), 40, 50)
    assert found.max() > 255
    assert (found.numpy() == winners(scores, 40, 50)).mean() >= 0.999


def halves() -> LabelScores:
    values = np.zeros((2, 4, 4), np.float32)
    values[0, :, :2] = values[1, :, 2:] = 1
    return LabelScores(np.array([3, 7]), values)


def test_scores_become_class_ids_at_native_size():
    mask = native_labels(torch.from_numpy(halves().scores), np.array([3, 7]), (40, 60))
    assert mask.shape == (40, 60)
    assert mask.dtype == np.uint8
    assert (mask[:, :29] == 3).all()
    assert (mask[:, 31:] == 7).all()


def test_class_ids_above_255_take_two_bytes():
    mask = native_labels(torch.from_numpy(halves().scores), np.array([3, 700]), (40, 60))
    assert mask.dtype == np.uint16
    assert np.unique(mask).tolist() == [3, 700]
