"""Scores of one mask: how clearly the winning class wins, and how far other images bear it out.

Measured against the true IoU of images in docs/quality.md.
"""

from __future__ import annotations

import numpy as np

__all__ = ["confidence_map", "image_quality", "margin", "segment_quality"]


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
    return np.asarray(np.clip(first_two[1] - first_two[0], 0.0, 1.0))


def segment_quality(scores: np.ndarray, agreement: np.ndarray | None = None) -> np.ndarray:
    """Return how far the segment of each class can be trusted.

    Args:
        scores: (L, h, w) float, >= 0, sums to 1 over L.
        agreement: (L,) how far other images bear each segment out, see
            :class:`~fiftyone_plugin.masks.scores.LabelScores`; ``None`` if that is not known.

    Returns:
        (L,) float64 in [0, 1]: the agreement, or else the mean margin inside the segment; NaN for a class
        that wins nowhere.
    """
    labels = np.asarray(scores).argmax(0).ravel()
    area = np.bincount(labels, minlength=len(scores))
    if agreement is None:
        total = np.bincount(labels, weights=margin(scores).ravel(), minlength=len(scores))
        agreement = total / np.maximum(area, 1)
    return np.where(area > 0, np.asarray(agreement, np.float64), np.nan)


def image_quality(scores: np.ndarray, agreement: np.ndarray | None = None) -> float:
    """Return the mean of :func:`segment_quality` over the pixels of an image, in [0, 1].

    It ranks the masks of one run; it is not an IoU.
    """
    share = np.bincount(np.asarray(scores).argmax(0).ravel(), minlength=len(scores)) / scores[0].size
    return float(np.nansum(share * segment_quality(scores, agreement)))


def confidence_map(scores: np.ndarray) -> np.ndarray:
    """Return :func:`margin` x 255 as (h, w) uint8."""
    return np.round(255 * margin(scores)).astype(np.uint8)
