"""Bounds that hold for nine images of ten, whatever the score is worth."""

from __future__ import annotations

import numpy as np
import pytest

from fiftyone_plugin.runs.calibration import COVERAGE, LowerBound


def drawn(rng: np.random.Generator, n: int, worth: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and IoUs that follow them so far, with noise that depends on the score and a heavy tail."""
    quality = rng.random(n)
    noise = rng.standard_t(3, n) * (0.02 + 0.2 * (1 - quality))
    return quality, np.clip(worth * quality + (1 - worth) * rng.random(n) + noise, 0, 1)


@pytest.mark.parametrize("worth", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("n", [20, 60])
def test_nine_of_ten_images_keep_the_bound(n, worth):
    """On average over draws of the labelled images, up to what 600 draws leave to chance."""
    rng = np.random.default_rng(n)
    kept, bounds = [], []
    for seed in range(600):
        bound = LowerBound.fit(*drawn(rng, n, worth), seed=seed)
        quality, iou = drawn(rng, 200, worth)
        least = bound.predict(quality)
        kept.append((iou >= least).mean())
        bounds.append(least.mean())
    error = 3 * np.std(kept) / np.sqrt(len(kept))
    assert np.mean(kept) > COVERAGE - error
    assert np.mean(kept) < 0.97 + error  # and it is not empty
    assert 0 <= np.mean(bounds) < 0.6


def test_a_good_score_gives_higher_bounds_than_one_that_says_nothing():
    rng = np.random.default_rng(0)
    at = np.array([0.9])
    good, bad = (LowerBound.fit(*drawn(rng, 200, worth)).predict(at)[0] for worth in (1.0, 0.0))
    assert good > 0.6 > 0.3 > bad


def test_it_never_falls_and_few_images_say_nothing():
    rng = np.random.default_rng(1)
    found = LowerBound.fit(*drawn(rng, 40, 0.5))
    assert (np.diff(found.predict(np.linspace(-1, 2, 99))) >= 0).all()
    assert LowerBound.fit(*drawn(rng, 19, 0.5)) is None


def test_the_margin_is_the_quantile_by_hand():
    """Of 20 images, 10 are held out; all but the worst of 11, itself included, is the tenth of ten."""
    quality, iou = np.linspace(0, 1, 20), np.full(20, 0.5)
    iou[np.random.default_rng(0).permutation(20)[10]] = 0.2  # one of those that are held out
    np.testing.assert_allclose(LowerBound.fit(quality, iou).predict(quality), 0.2)
