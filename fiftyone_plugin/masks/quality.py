"""Scores of one mask: how clearly the winning class wins, and how far other images bear it out.

Both are weighed by a few numbers that ``python -m benchmarks.mask_quality --learn`` has learnt from sets with
ground truth; docs/quality.md says what they are worth on a set that they were not learnt from.
"""

from __future__ import annotations

import numpy as np

__all__ = ["confidence_map", "image_measures", "image_quality", "margin", "segment_measures"]
__all__ += ["segment_quality", "soft_dice"]

FLOOR = 0.02  # keeps a logit finite
SEGMENT = (-2.98, 0.72, 1.38)  # a constant, the logits of soft Dice and of agreement
IMAGE = (-4.92, 2.68, 2.03, 0.07, 0.63)  # a constant, and see image_measures
MANY = 8


def margin(scores: np.ndarray) -> np.ndarray:
    """Return by how much the best class leads the second best in (L, h, w) scores that sum to 1 over L.

    Returns:
        (h, w) float32 in [0, 1]; 1 everywhere where there is only one class.
    """
    scores = np.asarray(scores, np.float32)
    if len(scores) == 1:
        return np.ones(scores.shape[1:], np.float32)
    first_two = np.partition(scores, len(scores) - 2, axis=0)[-2:]
    return np.asarray(np.clip(first_two[1] - first_two[0], 0.0, 1.0))


def soft_dice(scores: np.ndarray) -> np.ndarray:
    """Return the Dice that each segment is expected to have, if its (L, h, w) scores are probabilities.

    That is 2 sum p over the segment / (its area + sum p over the image), after Borges, Pacheco, Silva,
    "Selective prediction for semantic segmentation using post-hoc confidence estimation" (2024).

    Returns:
        (L,) float64 in [0, 1]; 0 for a class that wins nowhere.
    """
    flat = np.asarray(scores, np.float64).reshape(len(scores), -1)
    labels = flat.argmax(0)
    inside = np.bincount(labels, flat.max(0), len(flat))
    dice: np.ndarray = 2 * inside / np.maximum(np.bincount(labels, minlength=len(flat)) + flat.sum(1), 1e-12)
    return dice


def segment_quality(
    scores: np.ndarray, agreement: np.ndarray | None = None, lines: bool = False
) -> np.ndarray:
    """Return the IoU to expect of the segment of each class.

    Args:
        scores: (L, h, w) float, >= 0, sums to 1 over L.
        agreement: (L,) how far other images bear each segment out, see
            :class:`~fiftyone_plugin.masks.scores.LabelScores`; ``None`` if that is not known.
        lines: one of the segments was found at the pixel: then the agreement is all that is known.

    Returns:
        (L,) float64 in [0, 1], of :data:`SEGMENT`; without agreement the mean margin inside the segment,
        which is not an IoU; NaN for a class that wins nowhere.
    """
    labels = np.asarray(scores).argmax(0).ravel()
    area = np.bincount(labels, minlength=len(scores))
    if agreement is None:
        total = np.bincount(labels, weights=margin(scores).ravel(), minlength=len(scores))
        found = total / np.maximum(area, 1)
    elif lines:
        found = np.asarray(agreement, np.float64)
    else:
        found = _logistic(segment_measures(scores, agreement), SEGMENT)
    return np.where(area > 0, found, np.nan)


def segment_measures(scores: np.ndarray, agreement: np.ndarray) -> np.ndarray:
    """Return what :func:`segment_quality` weighs, (L, 2): the logits of soft Dice and of agreement."""
    return np.column_stack([_logit(soft_dice(scores)), _logit(np.asarray(agreement, np.float64))])


def image_measures(scores: np.ndarray, agreement: np.ndarray) -> np.ndarray:
    """Return what :func:`image_quality` weighs: agreement, soft Dice, how many segments, whether several.

    The first two are means over the segments by the root of their areas, between one vote for each pixel and
    one for each segment.

    Args:
        scores: (L, h, w) float, >= 0, sums to 1 over L.
        agreement: (L,), see :func:`segment_quality`.

    Returns:
        (4,) float64; of the segments no more than :data:`MANY` count.
    """
    area = np.bincount(np.asarray(scores).argmax(0).ravel(), minlength=len(scores))
    weight = np.sqrt(area) / np.sqrt(area).sum()
    means = [weight @ np.asarray(values, np.float64) for values in (agreement, soft_dice(scores))]
    n = int((area > 0).sum())
    return np.array([*means, min(n, MANY), n > 1])


def image_quality(scores: np.ndarray, agreement: np.ndarray | None = None, lines: bool = False) -> float:
    """Return how good a mask is, in [0, 1], to rank the masks of a run by; it is not an IoU.

    Args:
        scores: (L, h, w) float, >= 0, sums to 1 over L.
        agreement: (L,) or ``None``, see :func:`segment_quality`.
        lines: see :func:`segment_quality`.

    Returns:
        :data:`IMAGE` of :func:`image_measures`. Where lines were found the mean agreement of the segments;
        without agreement the mean :func:`margin`.
    """
    if agreement is None:
        return float(margin(scores).mean(dtype=np.float64))
    if lines:
        return float(np.nanmean(segment_quality(scores, agreement, lines)))
    return float(_logistic(image_measures(scores, agreement), IMAGE))


def _logit(p: np.ndarray) -> np.ndarray:
    """Return the logit, which ends at about 4 on both sides."""
    return np.asarray(np.log((p + FLOOR) / (1 - p + FLOOR)))


def _logistic(measures: np.ndarray, numbers: tuple[float, ...]) -> np.ndarray:
    """Return the logistic function of a constant and weighted (..., M) measures."""
    return np.asarray(1 / (1 + np.exp(-(numbers[0] + measures @ np.array(numbers[1:])))))


def confidence_map(scores: np.ndarray) -> np.ndarray:
    """Return :func:`margin` x 255 as (h, w) uint8."""
    return np.round(255 * margin(scores)).astype(np.uint8)
