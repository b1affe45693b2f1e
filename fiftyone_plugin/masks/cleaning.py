"""Small connected components: dropped, or given to the neighbour they share the longest border with."""

from __future__ import annotations

import numpy as np

from .segments import MAX_LABELS, Runs, connected_runs, find_runs

__all__ = ["remove_small"]


def remove_small(labels: np.ndarray, min_area: int, *, merge: bool = False) -> np.ndarray:
    """Remove the 4-connected components of less than ``min_area`` pixels.

    Args:
        labels: (H, W) unsigned integers; 0 is unlabelled, and unlabelled components stay whatever their size.
        min_area: pixels.
        merge: give a small component to the label, 0 included, of the large neighbour with which it shares
            most sides of pixels, the smaller label in case of a tie; small components that have only small
            neighbours follow when these have been merged. Else its pixels become 0.

    Returns:
        (H, W) of the same dtype.
    """
    if min_area <= 1:
        return labels
    runs = find_runs(labels)
    component = connected_runs(runs)
    area = np.bincount(component, weights=runs.length).astype(np.int64)
    label = np.zeros(len(area), runs.label.dtype)
    label[component] = runs.label
    small = (area < min_area) & (label > 0)
    if not small.any():
        return labels
    if merge:
        label, small = _merge(runs, component, label, small)
    label[small] = 0  # to drop, or without any large neighbour: then the whole image is small components
    return np.ascontiguousarray(runs.paint(label[component]))


def _merge(
    runs: Runs, component: np.ndarray, label: np.ndarray, small: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of components after merging, and which are still small."""
    inner, outer, sides = _borders(runs.paint(component), small)
    label, small = label.copy(), small.copy()
    while True:
        usable = small[inner] & ~small[outer]
        if not usable.any():
            return label, small
        a, b, n = inner[usable], label[outer[usable]].astype(np.int64), sides[usable]
        keys, inverse = np.unique(a * MAX_LABELS + b, return_inverse=True)
        pairs = np.divmod(keys, MAX_LABELS)
        total = np.bincount(inverse, weights=n)
        # by component; within one, the longest border first, then the smaller label
        order = np.lexsort((pairs[1], -total, pairs[0]))
        component_of = pairs[0][order]
        best = order[np.append(True, component_of[1:] != component_of[:-1])]
        label[pairs[0][best]] = pairs[1][best]
        small[pairs[0][best]] = False


def _borders(components: np.ndarray, small: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return small component, neighbour and number of common sides, for all pairs of which one is small."""
    pairs = []
    for a, b in ((components[:, :-1], components[:, 1:]), (components[:-1], components[1:])):
        touch = (a != b) & (small[a] | small[b])
        pairs += [np.stack([a[touch], b[touch]]), np.stack([b[touch], a[touch]])]
    both = np.concatenate(pairs, axis=1).astype(np.int64)
    both = both[:, small[both[0]]]
    n = len(small)
    unique, count = np.unique(both[0] * n + both[1], return_counts=True)
    return unique // n, unique % n, count
