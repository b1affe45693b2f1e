"""Do similar regions of other images bear a segment's class out? A score of a segment without labels."""

from __future__ import annotations

import numpy as np

from ..common.parallel import one_thread
from .normalize import l2_normalize
from .spectral import nearest

__all__ = ["cohesion", "neighbour_agreement"]


def neighbour_agreement(
    segments: np.ndarray,
    classes: np.ndarray,
    regions: np.ndarray,
    embedding: np.ndarray,
    labels: np.ndarray,
    neighbours: int,
) -> np.ndarray:
    """Return how near the regions most similar to a segment are to its class.

    Nearness is the cosine of the mean of their rows of the spectral embedding to the mean row of the class:
    regions that lie far apart in the graph count for little even where all of them have the class.

    Args:
        segments: (L, d) float32 unit vectors.
        classes: (L,) their classes, among ``labels`` or not.
        regions: (m, d) unit vectors of regions, of other images than the segments'.
        embedding: (m, E) their unit rows of the embedding that the classes were cut from.
        labels: (m,) their classes.
        neighbours: regions that are asked about each segment.

    Returns:
        (L,) float32 in [0, 1]; 0 where there are no regions, or none of the class.
    """
    if len(regions) == 0:
        return np.zeros(len(classes), np.float32)
    ids = np.unique(labels)
    with one_thread():
        centers = l2_normalize(np.stack([embedding[labels == id_].mean(0) for id_ in ids]))
        found = nearest(segments, regions, min(neighbours, len(regions)))
        nearness = embedding[found].mean(1) @ centers.T
    own = np.asarray(classes)[:, None] == ids
    return np.clip(np.where(own, nearness, 0.0).sum(1), 0, 1).astype(np.float32)


def cohesion(edges: np.ndarray, weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the share of a class's edge weight that stays within the class: 1 - its conductance.

    Args:
        edges: (e, 2) int rows that are linked, each pair once.
        weights: (e,) float, > 0.
        labels: (m,) int classes 0..K-1 of the rows.

    Returns:
        (K,) float32 in [0, 1]; 0 for a class without edges.
    """
    k = int(labels.max()) + 1
    first, second = labels[edges[:, 0]], labels[edges[:, 1]]
    touched = np.bincount(first, weights, k) + np.bincount(second, weights, k)
    inside = 2 * np.bincount(first, weights * (first == second), k)
    return (inside / np.maximum(touched, 1e-12)).astype(np.float32)
