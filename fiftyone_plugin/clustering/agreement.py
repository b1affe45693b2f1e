"""Do similar regions of other images bear a segment's class out? A score of a segment without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["PROBED", "Witnesses", "cohesion"]

PROBED = 2048  # regions that tell how good their classes are: some hundred of each of 20


class Witnesses:
    """Regions of known class and image, that are asked about the segments of other images.

    Args:
        vectors: (m, d) unit vectors of the regions.
        embedding: (m, E) float32 their unit rows of the embedding that the classes were cut from.
        labels: (m,) int their classes 0..K-1.
        owners: (m,) int64 the images that they are from.
        device: torch device to work on.
    """

    def __init__(
        self, vectors: np.ndarray, embedding: np.ndarray, labels: np.ndarray, owners: np.ndarray, device: str
    ) -> None:
        import torch

        k = int(labels.max(initial=-1)) + 1
        self.vectors = torch.from_numpy(np.array(vectors, np.float32)).to(device)
        self.embedding = torch.from_numpy(np.array(embedding, np.float32)).to(device)
        self.labels = torch.from_numpy(np.array(labels, np.int64)).to(device)
        self.owners = np.asarray(owners, np.int64)
        sums = np.zeros((k, embedding.shape[1]))
        np.add.at(sums, labels, embedding)
        self.counts = torch.from_numpy(np.bincount(labels, minlength=k)).to(device)
        self.sums = torch.from_numpy(sums.astype(np.float32)).to(device)

    def agreement(
        self, segments: torch.Tensor, classes: torch.Tensor, owners: np.ndarray, neighbours: int
    ) -> torch.Tensor:
        """Return how near the regions most similar to a segment are to its class; its own image is not asked.

        Nearness is the cosine of the mean of their rows of the embedding to the mean row of the class:
        regions that lie far apart in the graph count for little even where all of them have the class.

        Args:
            segments: (S, d) float32 unit vectors.
            classes: (S,) int64 their classes.
            owners: (S,) int64 the images that they are from.
            neighbours: regions that are asked about each segment; no more than half of those that a class has
                on average, but at least 5.

        Returns:
            (S,) float32 in [0, 1], 0 for a class that no other image has; NaN without another image.
        """
        import torch
        from torch.nn.functional import normalize

        device = segments.device
        own = np.flatnonzero(np.isin(self.owners, owners))
        mine = torch.from_numpy(self.owners[own] == owners[:, None]).to(device)  # (S, own regions)
        rows = torch.from_numpy(own).to(device)
        others = len(self.owners) - mine.sum(1)
        asked = (others // (2 * len(self.counts))).clamp(5, max(5, neighbours)).minimum(others)

        similarity = segments @ self.vectors.T
        similarity[:, rows] = similarity[:, rows].masked_fill(mine, -torch.inf)
        most = min(max(5, neighbours), len(self.owners))
        found = similarity.topk(most, dim=1).indices
        counted = torch.arange(most, device=device) < asked[:, None]
        mean = (counted / asked[:, None]).unsqueeze(1) @ self.embedding[found]

        same = mine & (self.labels[rows] == classes[:, None])
        center = normalize(self.sums[classes] - same.float() @ self.embedding[rows], dim=1)
        nearness = (mean.squeeze(1) * center).sum(1).clamp(0, 1)
        known = self.counts[classes] > same.sum(1)
        return torch.where(others > 0, nearness * known, torch.nan)

    def of_classes(self, neighbours: int) -> torch.Tensor:
        """Return how far the regions of each class are borne out themselves.

        Of one segment the answer is uncertain, of a class it is a mean over many: a segment is as good as its
        class far more often than not.

        Args:
            neighbours: regions that are asked about each, see :meth:`agreement`.

        Returns:
            (K,) float32 in [0, 1]: the mean root of :meth:`agreement` over regions of the class, some
            :data:`PROBED` in all, spread evenly; 0 for a class that has none in several images.
        """
        import torch

        k = len(self.counts)
        each = max(4, PROBED // max(1, k))
        found = torch.zeros(k, device=self.vectors.device)
        for label in range(k):
            rows = (self.labels == label).nonzero()[:, 0]
            rows = rows[:: max(1, -(-len(rows) // each))]
            if len(rows):
                owners = self.owners[rows.cpu().numpy()]
                near = self.agreement(self.vectors[rows], self.labels[rows], owners, neighbours)
                found[label] = near.nan_to_num(0).sqrt().mean()
        return found


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
