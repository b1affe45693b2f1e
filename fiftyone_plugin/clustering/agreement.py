"""Do similar regions of other images bear a segment's class out? A score of a segment without labels."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from .normalize import l2_normalize
from .spectral import nearest

__all__ = ["neighbour_agreement"]


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
    with threadpool_limits(1):
        centers = l2_normalize(np.stack([embedding[labels == id_].mean(0) for id_ in ids]))
        found = nearest(segments, regions, min(neighbours, len(regions)))
        nearness = embedding[found].mean(1) @ centers.T
    own = np.asarray(classes)[:, None] == ids
    return np.clip(np.where(own, nearness, 0.0).sum(1), 0, 1).astype(np.float32)
