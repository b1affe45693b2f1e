"""Scores of a pixel confusion matrix, as pure functions.

Two kinds of input:

- *class matrix* ``(..., R, C)``, R >= C: pixels by predicted class (row i < C stands for the same class as
  column i) and true class. Rows from C on are predictions that are no class at all (unlabelled, unmatched):
  they are errors. Leading dimensions are batches, e.g. images or bootstrap replicates.
- *contingency table* ``(..., K, C)``: pixels by cluster and true class, with no relation between the two.

Conventions, the same everywhere:

- a score without anything to measure (0 / 0) is nan, never 0 or 1, and means over classes skip nan;
- a class counts in mIoU and mean F1 when it occurs in the ground truth *or* in the prediction (a class that
  is predicted but never true scores 0), and in mean class accuracy when it occurs in the ground truth;
- ignored pixels are not in the matrix; unlabelled ones are, as errors.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "accuracy_per_class",
    "adjusted_rand_index",
    "divide",
    "f1_per_class",
    "f_beta",
    "frequency_weighted_iou",
    "iou_per_class",
    "mean_absolute_error",
    "mean_over_classes",
    "mean_over_true_classes",
    "normalized_mutual_info",
    "pixel_accuracy",
    "precision_per_class",
]


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the quotient as float64, nan where the denominator is not above 0."""
    numerator, denominator = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    out = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def _parts(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return hits, predicted and true pixels of every class, each (..., C) float64."""
    matrix = np.asarray(matrix)
    classes = matrix.shape[-1]
    if matrix.ndim < 2 or matrix.shape[-2] < classes:
        raise ValueError(f"a class matrix is (..., R, C) with R >= C, got {matrix.shape}")
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    return hits.astype(float), matrix[..., :classes, :].sum(-1).astype(float), matrix.sum(-2).astype(float)


def iou_per_class(matrix: np.ndarray) -> np.ndarray:
    """Return intersection over union (Jaccard index) of every class, (..., C); nan where the union is empty.

    Example:
        >>> iou_per_class(np.array([[3, 1], [0, 4]])).tolist()
        [0.75, 0.8]
    """
    hits, predicted, true = _parts(matrix)
    return divide(hits, predicted + true - hits)


def accuracy_per_class(matrix: np.ndarray) -> np.ndarray:
    """Return the share of every class's pixels predicted right (recall), (..., C); nan if it has none."""
    hits, _, true = _parts(matrix)
    return divide(hits, true)


def precision_per_class(matrix: np.ndarray) -> np.ndarray:
    """Return the share of pixels predicted as a class that are of it, (..., C); nan if never predicted."""
    hits, predicted, _ = _parts(matrix)
    return divide(hits, predicted)


def f1_per_class(matrix: np.ndarray) -> np.ndarray:
    """Return F1 (Dice) of every class, (..., C); nan where it is neither true nor predicted."""
    hits, predicted, true = _parts(matrix)
    return divide(2 * hits, predicted + true)


def mean_over_classes(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis, nan skipped; nan where all are nan."""
    values = np.asarray(values, np.float64)
    known = ~np.isnan(values)
    return divide(np.where(known, values, 0.0).sum(-1), known.sum(-1))


def mean_over_true_classes(values: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the mean of per-class ``values`` (..., C) over the classes that occur in the ground truth.

    The per-image reading of "mean over classes present": a few stray pixels of a class that the image does
    not hold already cost the classes they were taken from, and do not add a zero of their own.
    """
    present = np.asarray(matrix).sum(-2) > 0
    return mean_over_classes(np.where(present, values, np.nan))


def pixel_accuracy(matrix: np.ndarray) -> np.ndarray:
    """Return the share of pixels predicted right, (...)."""
    hits, _, true = _parts(matrix)
    return divide(hits.sum(-1), true.sum(-1))


def frequency_weighted_iou(matrix: np.ndarray) -> np.ndarray:
    """Return IoU averaged over classes with the weight of their share of true pixels, (...)."""
    _, _, true = _parts(matrix)
    weighted = np.where(true > 0, true * np.nan_to_num(iou_per_class(matrix)), 0.0)
    return divide(weighted.sum(-1), true.sum(-1))


def f_beta(hits: np.ndarray, predicted: np.ndarray, true: np.ndarray, beta2: float = 0.3) -> np.ndarray:
    """Return F-beta of a foreground from its pixel counts; nan where it is neither true nor predicted.

    ``beta2`` = beta squared; 0.3 is the custom of salient object detection and stresses precision.
    """
    hits, predicted, true = (np.asarray(v, np.float64) for v in (hits, predicted, true))
    # rounding can exceed 1 by a unit in the last place
    return np.asarray(np.minimum(divide((1 + beta2) * hits, beta2 * true + predicted), 1.0))


def mean_absolute_error(matrix: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference of binary masks, (...): the share of pixels that differ."""
    return 1.0 - pixel_accuracy(matrix)


def adjusted_rand_index(table: np.ndarray) -> np.ndarray:
    """Return the Rand index over pixel pairs, adjusted for chance, of contingency tables (..., K, C).

    1 for equal partitions, about 0 for independent ones, negative below chance. Needs no matching and
    punishes over-clustering. Hubert and Arabie, "Comparing partitions", 1985.
    """
    table = np.asarray(table, np.float64)
    n = table.sum((-2, -1))
    squares = (table**2).sum((-2, -1))
    rows, columns = (table.sum(-1) ** 2).sum(-1), (table.sum(-2) ** 2).sum(-1)
    # ordered pairs: together in both, only in the prediction, only in the truth, in neither
    both, pred_only, true_only = squares - n, rows - squares, columns - squares
    neither = n**2 - rows - columns + squares
    chance = (both + true_only) * (true_only + neither) + (both + pred_only) * (pred_only + neither)
    value = divide(2.0 * (both * neither - true_only * pred_only), chance)
    equal = (pred_only == 0) & (true_only == 0)
    return np.where(n > 0, np.where(equal, 1.0, value), np.nan)


def _entropy(weights: np.ndarray) -> np.ndarray:
    """Return the entropy in nats of distributions over the last axis, given as unnormalised weights."""
    share = divide(weights, weights.sum(-1, keepdims=True))
    return np.asarray(-np.where(share > 0, share * np.log(np.where(share > 0, share, 1.0)), 0.0).sum(-1))


def normalized_mutual_info(table: np.ndarray) -> np.ndarray:
    """Return mutual information over the mean of the two entropies, of contingency tables (..., K, C).

    1 for equal partitions (also if both have one part only), 0 for independent ones. Needs no matching; rises
    with the number of clusters, so compare it at equal K.
    """
    table = np.asarray(table, np.float64)
    predicted, true = _entropy(table.sum(-1)), _entropy(table.sum(-2))
    mutual = predicted + true - _entropy(table.reshape(*table.shape[:-2], -1))
    single = (predicted == 0) & (true == 0)
    value = np.where(single, 1.0, np.nan_to_num(divide(np.maximum(mutual, 0.0), (predicted + true) / 2)))
    return np.where(table.sum((-2, -1)) > 0, np.minimum(value, 1.0), np.nan)
