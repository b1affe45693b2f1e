"""Scores that need the masks themselves, not only their confusion: boundaries and boxes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .confusion import validate

__all__ = ["BOUNDARY_TOLERANCE", "boundary_f", "box_found"]

BOUNDARY_TOLERANCE = 0.0075
"""Default tolerance as a share of the image diagonal (6 pixels at 640x480)."""


def boundaries(mask: np.ndarray, scored: np.ndarray | None = None) -> np.ndarray:
    """Return (H, W) bool: pixels whose right or lower neighbour has another id, both being ``scored``."""
    edge = np.zeros(mask.shape, bool)
    across, down = mask[:, :-1] != mask[:, 1:], mask[:-1] != mask[1:]
    if scored is not None:
        across &= scored[:, :-1] & scored[:, 1:]
        down &= scored[:-1] & scored[1:]
    edge[:, :-1] |= across
    edge[:-1] |= down
    return edge


def _share_near(edge: np.ndarray, other: np.ndarray, reach: float) -> float:
    """Return the share of pixels of ``edge`` with a pixel of ``other`` within ``reach``; nan if none."""
    from scipy.spatial import cKDTree

    points, targets = np.argwhere(edge), np.argwhere(other)
    if not len(points):
        return float("nan")
    if not len(targets):
        return 0.0
    # the tree's bound is exclusive
    distance, _ = cKDTree(targets).query(points, distance_upper_bound=np.nextafter(reach, np.inf))
    return float(np.isfinite(distance).mean())


def boundary_f(
    pred: np.ndarray, true: np.ndarray, tolerance: float = BOUNDARY_TOLERANCE, ignore: Iterable[int] = ()
) -> float:
    """Return the F1 of boundary pixels that lie within a tolerance of the other mask's boundary.

    Boundaries are those between any two ids, whatever they mean, so that no matching is needed; boundaries
    between two clusters of one class count as wrong. Where the ground truth is ignored, a predicted boundary
    is not wrong, and the true boundary is taken to run along the middle of the ignored band, if that is no
    wider than twice the tolerance.

    Args:
        pred: (H, W) predicted ids.
        true: (H, W) ground-truth ids.
        tolerance: distance as a share of the image diagonal, at least one pixel.
        ignore: ground-truth ids that are not scored.

    Returns:
        the score in [0, 1]; nan if neither mask has a boundary, or nothing is scored.

    Raises:
        UsageError: masks that cannot be compared.
    """
    pred, true = validate(pred, true)
    reach = max(1.0, tolerance * float(np.hypot(*true.shape)))
    scored = ~np.isin(true, list(ignore))
    if not scored.any():
        return float("nan")
    true_edge = boundaries(true)
    if not scored.all():
        from scipy.ndimage import distance_transform_edt

        away, nearest = distance_transform_edt(~scored, return_indices=True)
        true_edge = boundaries(true[tuple(nearest)]) & (away <= reach)
    precision = _share_near(boundaries(pred, scored), true_edge, reach)
    recall = _share_near(true_edge, boundaries(pred), reach)
    if np.isnan(precision) and np.isnan(recall):
        return float("nan")
    # a prediction without a boundary to judge has none that is wrong; a truth without any finds nothing
    precision, recall = np.nan_to_num(precision, nan=1.0), np.nan_to_num(recall, nan=0.0)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _boxes(mask: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Return (y0, x0, y1, x1), end exclusive, of the connected parts of a bool mask, largest part first."""
    from scipy.ndimage import find_objects, label

    parts, n = label(mask)
    sizes = np.bincount(parts.ravel(), minlength=n + 1)[1:]
    found = find_objects(parts)
    return [
        (found[i][0].start, found[i][1].start, found[i][0].stop, found[i][1].stop)
        for i in np.argsort(-sizes, kind="stable")
    ]


def _box_iou(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(height, 0) * max(width, 0)
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return overlap / (areas - overlap)


def box_found(pred: np.ndarray, true: np.ndarray, threshold: float = 0.5) -> float:
    """Say whether the predicted object is found: the term whose mean over images is CorLoc.

    The box of the largest connected part of the predicted foreground is compared with the box of every
    connected part of the true foreground.

    Args:
        pred: (H, W) prediction, non-zero is foreground.
        true: (H, W) ground truth, non-zero is foreground.
        threshold: IoU of boxes from which an object counts as found.

    Returns:
        1.0 or 0.0; nan if the image has no true foreground.

    Raises:
        UsageError: masks that cannot be compared.
    """
    pred, true = validate(pred, true)
    goals = _boxes(true != 0)
    if not goals:
        return float("nan")
    boxes = _boxes(pred != 0)[:1]
    return float(any(_box_iou(box, goal) >= threshold for box in boxes for goal in goals))
