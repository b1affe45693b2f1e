"""The graph over the regions of all images, from which the classes are cut, at any K."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from threadpoolctl import threadpool_limits

from ..clustering.normalize import VectorNormalizer, l2_normalize
from ..clustering.spectral import LandmarkSpectral, View, cut_embedding, majority
from ..errors import UsageError

__all__ = ["RegionGraph", "cluster_regions"]

FIT_ROWS = 50_000  # regions that a whitening is learnt from
CHUNK = 16_384


def cluster_regions(
    descriptors: np.ndarray,
    foreground: np.ndarray,
    n_classes: int | Literal["auto"],
    *,
    whiten: Sequence[int],
    foreground_weight: float,
    neighbours: int,
    max_landmarks: int = 12_000,
    random_state: int = 0,
) -> LandmarkSpectral:
    """Cluster region descriptors on what their neighbour graphs under several whitenings agree on.

    One number of components fits no data set: which regions are neighbours changes with it, and with it
    which classes are found. Edges that are there under most of them can be relied on, see docs/mosaic.md.

    Args:
        descriptors: (n, D) float mean tokens of regions, n >= 1.
        foreground: (n,) float foreground probability of each.
        n_classes: K or ``auto``.
        whiten: numbers of PCA components, one graph each; rows beyond the landmarks follow their neighbours
            under the first.
        foreground_weight: weight of the foreground probability beside a unit vector; 0 leaves it out.
        neighbours: of every region in each graph.
        max_landmarks: regions in the graphs.
        random_state: seed.
    """
    rows = np.sort(np.random.default_rng(random_state).permutation(len(descriptors))[:FIT_ROWS])
    sample = descriptors[rows].astype(np.float32)

    def view(components: int) -> View:
        # n centred vectors span n - 1 dimensions, and few regions say little about many of them
        normalizer = VectorNormalizer(whiten=max(1, min(components, len(sample) // 4))).fit(sample)

        def describe(rows: np.ndarray) -> np.ndarray:
            vectors = normalizer.transform(descriptors[rows])
            if not foreground_weight:
                return vectors
            inside = foreground_weight * foreground[rows]
            return l2_normalize(np.column_stack([vectors, inside, foreground_weight - inside]))

        return describe

    with threadpool_limits(1):
        first, *others = [view(components) for components in whiten]
        x = np.concatenate(
            [
                first(np.arange(start, min(start + CHUNK, len(descriptors))))
                for start in range(0, len(descriptors), CHUNK)
            ]
        )
    return LandmarkSpectral(
        n_classes, neighbours=neighbours, max_landmarks=max_landmarks, random_state=random_state
    ).fit(x, views=others)


@dataclass(frozen=True)
class RegionGraph:
    """What is kept of a fit to cut its regions into another number of classes, without any image.

    Attributes:
        embedding: (m, E) float32 eigenvectors of the landmarks.
        eigenvalues: (E,) float64, ascending.
        voters: (n, V) int32 landmarks that decide about each region.
        region_of_patch: (p, cuts) int32 regions that the head's patches lie in.
        patches: (p, d) float16 vectors that the head learns from.
    """

    embedding: np.ndarray
    eigenvalues: np.ndarray
    voters: np.ndarray
    region_of_patch: np.ndarray
    patches: np.ndarray

    def cut(self, n_classes: int) -> np.ndarray:
        """Return the (n,) int64 clusters of all regions for K classes.

        Raises:
            UsageError: K is larger than the number of eigenvectors that were kept.
        """
        most = self.embedding.shape[1]
        if not 1 <= n_classes <= most:
            raise UsageError(
                f"this model can be cut into 1 to {most} classes, not {n_classes}: fit a new one with that K"
                if most
                else "this model cannot be cut anew: it was fitted on too few different regions"
            )
        labels = cut_embedding(self.embedding, n_classes)
        return majority(labels[self.voters], int(labels.max()) + 1)

    def votes(self, labels: np.ndarray) -> np.ndarray:
        """Return the (p, K) float32 share of cuts that give each patch each class, from (n,) ``labels``."""
        p, cuts = self.region_of_patch.shape
        votes = np.zeros((p, int(labels.max()) + 1), np.float32)
        for regions in self.region_of_patch.T:
            votes[np.arange(p), labels[regions]] += 1 / cuts
        return votes

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
