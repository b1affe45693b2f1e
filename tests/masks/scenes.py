"""Images whose truth is known, for the tests of refiners."""

from __future__ import annotations

import numpy as np
import torch

from fiftyone_plugin.common.parallel import one_thread
from fiftyone_plugin.images.reading import resize_image
from fiftyone_plugin.masks.refine import Refiner
from fiftyone_plugin.masks.upsample import resize_scores


def two_colours(side: int = 96, noise: float = 4.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A disc on a ground of another colour, and where the disc is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    truth = (y - side * 0.45) ** 2 + (x - side * 0.55) ** 2 < (0.3 * side) ** 2
    colour = np.where(truth[..., None], (190, 60, 50), (60, 90, 170))
    return (colour + noise * rng.normal(size=(side, side, 3))).clip(0, 255).astype(np.uint8), truth


def patch_scores(truth: np.ndarray, grid: int = 12, flipped: float = 0.0, seed: int = 0) -> np.ndarray:
    """Coarse (2, grid, grid) scores of the truth, some patches wrong."""
    foreground = resize_scores(truth[None].astype(np.float32), grid, grid)[0] * 0.8 + 0.1
    wrong = np.random.default_rng(seed).random((grid, grid)) < flipped
    foreground = np.where(wrong, 1 - foreground, foreground)
    return np.stack([1 - foreground, foreground]).astype(np.float32)


def random_scores(labels: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """(labels, height, width) float32 scores that sum to 1."""
    scores = np.random.default_rng(seed).random((labels, height, width)).astype(np.float32)
    return np.asarray(scores / scores.sum(0))


def refine_one(refiner: Refiner, scores: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Refine the scores of one image in a batch of one."""
    side = max(1, refiner.guide_side)
    guide = torch.from_numpy(resize_image(image, side, side)[None])
    values = torch.from_numpy(np.array(scores, np.float32, order="C")[None])
    with one_thread():  # the last bits depend on their number
        return np.asarray(refiner(values, guide, [image.shape[:2]])[0].numpy())


def accuracy(marginals: np.ndarray, truth: np.ndarray) -> float:
    """Return the share of pixels whose likeliest of two labels is the true one."""
    full = resize_scores(marginals, *truth.shape)
    return float((full.argmax(0) == truth).mean())
