"""Refiners of benchmarks against loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.refiners import JointBilateral, PixelAdaptive

from ..masks.scenes import random_scores, refine_one


def slow(refiner: JointBilateral, scores: np.ndarray, image: np.ndarray) -> np.ndarray:
    labels, height, width = scores.shape
    fine = len(image) // height
    colours = image / 255
    means = colours.reshape(height, fine, width, fine, 3).mean(axis=(1, 3))
    found = np.zeros((labels, *image.shape[:2]))
    for y in range(len(image)):
        for x in range(len(image)):
            total = 0.0
            for dy in range(-refiner.radius, refiner.radius + 1):
                for dx in range(-refiner.radius, refiner.radius + 1):
                    qy, qx = y // fine + dy, x // fine + dx
                    away = ((y + 0.5) / fine - qy - 0.5) ** 2 + ((x + 0.5) / fine - qx - 0.5) ** 2
                    qy, qx = np.clip(qy, 0, height - 1), np.clip(qx, 0, width - 1)
                    unlike = ((colours[y, x] - means[qy, qx]) ** 2).sum()
                    weight = np.exp(-away / 2 / refiner.reach**2)
                    weight *= np.exp(-unlike / 2 / refiner.colour**2) + 1e-6
                    total += weight
                    found[:, y, x] += weight * scores[:, qy, qx]
            found[:, y, x] /= total
    return found


@pytest.mark.parametrize("radius", [1, 2])
def test_equals_a_loop(radius):
    refiner = JointBilateral(guide_side=24, radius=radius)
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    scores = random_scores(3, 6, 6)
    np.testing.assert_allclose(refine_one(refiner, scores, image), slow(refiner, scores, image), atol=1e-5)


def test_pixel_adaptive_equals_a_loop():
    refiner = PixelAdaptive(guide_side=8, n_iter=1, steps=(1, 2))
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    scores, colours = random_scores(3, 8, 8), image / 255
    expected = np.zeros(scores.shape)
    for y in range(8):
        for x in range(8):
            unlike, near = [], []
            for step in refiner.steps:
                around = [(y + dy, x + dx) for dy in (-step, 0, step) for dx in (-step, 0, step)]
                places = [tuple(np.clip(place, 0, 7)) for place in around]
                spread = np.std([colours[place] for place in places], axis=0, ddof=1)
                for place in places[:4] + places[5:]:
                    unlike.append((np.abs(colours[place] - colours[y, x]) / (1e-8 + 0.1 * spread)).mean())
                    near.append(scores[:, place[0], place[1]])
            weights = np.exp(-np.array(unlike))
            expected[:, y, x] = weights @ np.array(near) / weights.sum()
    np.testing.assert_allclose(refine_one(refiner, scores, image), expected, atol=1e-5)
