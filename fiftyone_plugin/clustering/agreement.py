"""Do similar regions of other images bear a segment's class out? A score of a segment without labels."""

from __future__ import annotations

import numpy as np

from ..common.parallel import one_thread
from .normalize import l2_normalize

__all__ = ["Witnesses", "cohesion"]


class Witnesses:
    """Regions of known class and image, that are asked about the segments of one image at a time.

    What does not depend on that image, the sums of the classes above all, is computed once.

    Args:
        vectors: (m, d) unit vectors of the regions.
        embedding: (m, E) their unit rows of the embedding that the classes were cut from.
        labels: (m,) int their classes 0..K-1.
        owners: (m,) int the images that they are from.
    """

    def __init__(
        self, vectors: np.ndarray, embedding: np.ndarray, labels: np.ndarray, owners: np.ndarray
    ) -> None:
        self.vectors = np.asarray(vectors, np.float32)
        self.embedding, self.labels, self.owners = embedding, labels, owners
        k = int(labels.max(initial=-1)) + 1
        self.counts = np.bincount(labels, minlength=k)
        self.sums = np.zeros((k, embedding.shape[1]))
        np.add.at(self.sums, labels, embedding)

    def agreement(
        self, segments: np.ndarray, classes: np.ndarray, owner: int, neighbours: int
    ) -> np.ndarray | None:
        """Return how near the regions most similar to a segment are to its class; its own image is not asked.

        Nearness is the cosine of the mean of their rows of the embedding to the mean row of the class:
        regions that lie far apart in the graph count for little even where all of them have the class.

        Args:
            segments: (L, d) float32 unit vectors.
            classes: (L,) their classes.
            owner: the image that the segments are from.
            neighbours: regions that are asked about each segment; no more than half of those that a class has
                on average, but at least 5.

        Returns:
            (L,) float32 in [0, 1], 0 for a class that no other image has; ``None`` without another image.
        """
        own = np.flatnonzero(self.owners == owner)
        others = len(self.owners) - len(own)
        if not others:
            return None
        sums, counts = self.sums.copy(), self.counts.copy()
        np.subtract.at(sums, self.labels[own], self.embedding[own])
        np.subtract.at(counts, self.labels[own], 1)
        asked = min(max(5, min(neighbours, others // (2 * len(counts)))), others)
        with one_thread():
            similarity = segments @ self.vectors.T
            similarity[:, own] = -np.inf
            found = np.argpartition(-similarity, asked - 1, axis=1)[:, :asked]
            centers = l2_normalize(sums / np.maximum(counts, 1)[:, None])[classes]
            nearness = (self.embedding[found].mean(1) * centers).sum(1) * (counts[classes] > 0)
        return np.asarray(np.clip(nearness, 0, 1), np.float32)


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
    return np.asarray(inside / np.maximum(touched, 1e-12), np.float32)
