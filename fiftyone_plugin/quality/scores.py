"""Scores of one mask from the soft scores behind it: how clearly the winning class wins.

Measured against the true IoU of images in docs/quality.md.
"""

from __future__ import annotations

import numpy as np

__all__ = ["confidence_map", "image_quality", "margin"]


def margin(scores: np.ndarray) -> np.ndarray:
    """Return by how much the best class leads the second best.

    Args:
        scores: (L, h, w) float, >= 0, sums to 1 over L.

    Returns:
        (h, w) float32 in [0, 1]; 1 everywhere where there is only one class.
    """
    scores = np.asarray(scores, np.float32)
    if len(scores) == 1:
        return np.ones(scores.shape[1:], np.float32)
    first_two = np.partition(scores, len(scores) - 2, axis=0)[-2:]
    return np.clip(first_two[1] - first_two[0], 0.0, 1.0)


def image_quality(scores: np.ndarray) -> float:
    """Return the mean margin of an image, in [0, 1]; a ranking among the masks of one run, not an IoU."""
    return float(margin(scores).mean(dtype=np.float64))


def confidence_map(scores: np.ndarray) -> np.ndarray:
    """Return :func:`margin` x 255 as (h, w) uint8."""
    return np.round(255 * margin(scores)).astype(np.uint8)
