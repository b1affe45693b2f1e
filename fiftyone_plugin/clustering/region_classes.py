"""From regions to categories: pooled region descriptors of all images, clustered into K classes.

The stage that methods share whose regions have no identity across images. Recipe: mean of the L2-normalised
tokens of a region, L2, PCA whitening, L2, clustering over the data set. Whitening before clustering is what
MaskDistill does with CLS features (utils/cluster.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin

from ..common.parallel import one_thread
from ..errors import UsageError
from .kmeans import ReproducibleKMeans, squared_distances
from .normalize import VectorNormalizer, l2_normalize, normalizer_arrays

__all__ = ["RegionClasses", "pool_regions", "stack_layers"]

CLUSTERINGS = ("kmeans", "spectral")
NEIGHBOURS = 30
PER_COMPONENT = 7  # fewest regions for each component that is kept
MAX_SPECTRAL = 20_000  # regions; beyond, the neighbour graph takes minutes


def stack_layers(layers: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate layers of one image, each L2-normalised: (n, D_i) arrays -> (n, sum D_i) float32."""
    return np.concatenate([l2_normalize(layer) for layer in layers], axis=1)


def pool_regions(tokens: np.ndarray, regions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average the tokens of every region.

    Args:
        tokens: (n, D) float.
        regions: (n,) int region of each token; negative ones take no part.

    Returns:
        (R,) ascending region ids that occur, (R, D) float32 means scaled to unit length, and (R,) float64
        shares of the n tokens.
    """
    inside = regions >= 0
    ids, rows = np.unique(regions[inside], return_inverse=True)
    count = np.bincount(rows, minlength=len(ids))
    member = (rows[None] == np.arange(len(ids))[:, None]).astype(np.float32)
    with one_thread():
        mean = (member @ np.asarray(tokens, np.float32)[inside]) / np.maximum(count, 1)[:, None]
    return ids, l2_normalize(mean), count / max(1, len(regions))


@dataclass(eq=False, repr=False)
class RegionClasses(ClusterMixin, BaseEstimator):
    """Clusters region descriptors into classes 1..K, numbered by falling total area.

    Args:
        n_classes: K; fewer classes are made where there are fewer distinct regions.
        whiten: PCA components kept and whitened, ``None`` for none; at most one for every seven regions.
        clustering: ``kmeans``, or ``spectral``: on the graph of the 30 nearest neighbours, where k-means
            cuts elongated clusters. New regions take the class of the nearest class mean in both.
        n_init: restarts of k-means.
        random_state: seed.

    Attributes:
        normalizer_: maps descriptors to the vectors that are clustered.
        centers_: (K', d) float32 class means.
        labels_: (n,) int64 class ids, 1..K', of the regions it was fitted on.
    """

    n_classes: int = 20
    _: KW_ONLY
    whiten: int | None = 64
    clustering: str = "kmeans"
    n_init: int = 10
    random_state: int = 0

    def fit(self, x: np.ndarray, y: None = None, *, area: np.ndarray | None = None) -> RegionClasses:
        """Cluster the rows of (n, D) ``x``.

        Args:
            x: descriptors; n may be 0, which gives no class.
            y: ignored.
            area: (n,) areas for the numbering; all alike if ``None``.

        Raises:
            UsageError: unknown clustering, or fewer than one class asked for.
        """
        if self.clustering not in CLUSTERINGS:
            raise UsageError(f"unknown clustering {self.clustering!r}; known: {', '.join(CLUSTERINGS)}")
        if self.n_classes < 1:
            raise UsageError(f"regions need at least 1 class, got {self.n_classes}")
        x = np.asarray(x, np.float32)
        if len(x) == 0:
            self.normalizer_ = VectorNormalizer.of(np.zeros(x.shape[1], np.float32))
            self.centers_, self.labels_ = np.zeros((0, x.shape[1]), np.float32), np.zeros(0, np.int64)
            return self
        whiten = self.whiten if len(x) > 2 else None
        if whiten is not None:  # to nearly as many as there are regions: all would be equally far apart
            whiten = min(whiten, max(2, len(x) // PER_COMPONENT))
        with one_thread():
            self.normalizer_ = VectorNormalizer(whiten=whiten).fit(x)
            vectors = self.normalizer_.transform(x)
            labels = self._cluster(vectors)
        k = int(labels.max()) + 1
        weight = np.bincount(labels, weights=area, minlength=k)
        rank = np.argsort(np.argsort(-weight, kind="stable"))
        self.labels_ = 1 + rank[labels]
        self.centers_ = np.stack([vectors[self.labels_ == c].mean(0) for c in range(1, k + 1)])
        return self

    @classmethod
    def of(cls, normalizer: VectorNormalizer, centers: np.ndarray) -> RegionClasses:
        """Return fitted classes of these means, see :meth:`get_arrays`."""
        classes = cls(max(1, len(centers)))
        classes.normalizer_, classes.centers_ = normalizer, centers
        return classes

    def _cluster(self, vectors: np.ndarray) -> np.ndarray:
        """Return (n,) cluster numbers 0..K'-1, each of which occurs."""
        enough = 2 * self.n_classes < len(vectors) <= MAX_SPECTRAL
        if self.clustering == "spectral" and enough and self.n_classes > 1:
            from sklearn.cluster import SpectralClustering

            spectral = SpectralClustering(
                self.n_classes,
                affinity="nearest_neighbors",
                n_neighbors=min(NEIGHBOURS, len(vectors) - 1),
                random_state=self.random_state,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # a graph in several parts is no fault here
                labels = spectral.fit_predict(vectors)
            return np.unique(labels, return_inverse=True)[1]
        return self._kmeans().fit(vectors).labels_

    def _kmeans(self) -> ReproducibleKMeans:
        return ReproducibleKMeans(self.n_classes, n_init=self.n_init, random_state=self.random_state)

    @property
    def n_classes_(self) -> int:
        """Number of classes found."""
        return len(self.centers_)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the (n,) int64 class ids (from 1) of (n, D) descriptors; 0 if there is no class."""
        if len(x) == 0 or len(self.centers_) == 0:
            return np.zeros(len(x), np.int64)
        with one_thread():
            vectors = self.normalizer_.transform(x)
            return np.asarray(1 + squared_distances(vectors, self.centers_).argmin(1))

    def get_arrays(self) -> dict[str, np.ndarray]:
        """Return the learnt arrays."""
        return {"centers": self.centers_, **normalizer_arrays(self.normalizer_)}
