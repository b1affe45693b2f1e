"""k-means that gives the same clusters for the same seed, whatever the number of cores."""

from __future__ import annotations

import warnings
from dataclasses import KW_ONLY, dataclass

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin

from ..common.parallel import one_thread
from ..errors import UsageError

__all__ = ["ReproducibleKMeans", "squared_distances"]


def require_width(x: np.ndarray, learnt: int) -> None:
    """Refuse (n, D) rows of another D than was learnt, as with a model that was fitted on other features."""
    if x.shape[1] != learnt:
        raise UsageError(
            f"vectors of {x.shape[1]} numbers where {learnt} were learnt: the model was fitted with another "
            "backbone, or with other layers"
        )


def squared_distances(x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return the (n, K) squared Euclidean distances of (n, D) rows to (K, D) centres, clipped at 0.

    Raises:
        UsageError: rows and centres are not of one D, as with a model that was fitted on other features.
    """
    require_width(x, centers.shape[1])
    cross = x @ centers.T
    distances: np.ndarray = (x * x).sum(1, keepdims=True) - 2.0 * cross + (centers * centers).sum(1)
    return distances.clip(0.0)


@dataclass(eq=False, repr=False)
class ReproducibleKMeans(ClusterMixin, BaseEstimator):
    """scikit-learn's k-means, made safe for data with few distinct points and independent of thread count.

    scikit-learn adds the partial sums of its threads in the order in which they finish, which changes the
    last bits of the centres from run to run; here one thread does the arithmetic. Clusters that would stay
    empty because there are fewer distinct points than ``n_clusters`` are not made.

    Args:
        n_clusters: K, at least 1.
        n_init: restarts; the one with the lowest inertia wins.
        max_iter: iterations of Lloyd's algorithm, or passes over the data for mini-batches.
        batch_size: fit with mini-batches of this many rows; ``None`` for Lloyd's algorithm on everything.
        random_state: seed.

    Attributes:
        cluster_centers_: (K', D) float32, K' <= n_clusters.
        inertia_: sum of squared distances to the nearest centre.
        labels_: (n,) int32.
    """

    n_clusters: int = 8
    _: KW_ONLY
    n_init: int = 3
    max_iter: int = 100
    batch_size: int | None = None
    random_state: int = 0

    def fit(self, x: np.ndarray, y: None = None) -> ReproducibleKMeans:
        """Cluster the rows of (n, D) ``x``, n >= 1."""
        from sklearn.cluster import KMeans, MiniBatchKMeans
        from sklearn.exceptions import ConvergenceWarning

        if self.n_clusters < 1:
            raise UsageError(f"k-means needs at least 1 cluster, got {self.n_clusters}")
        x = np.ascontiguousarray(x, dtype=np.float32)
        if len(x) == 0:
            raise UsageError("k-means needs at least one vector")
        k = min(self.n_clusters, _count_distinct(x, self.n_clusters))
        settings = {"n_init": self.n_init, "random_state": self.random_state, "max_iter": self.max_iter}
        with one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # near-duplicates; empty clusters go below
            if self.batch_size is None:
                model = KMeans(k, **settings).fit(x)
            else:
                model = MiniBatchKMeans(k, batch_size=self.batch_size, **settings).fit(x)
            labels = model.predict(x)
        used, self.labels_ = np.unique(labels, return_inverse=True)
        self.labels_ = self.labels_.astype(np.int32)
        self.cluster_centers_ = np.ascontiguousarray(model.cluster_centers_[used], dtype=np.float32)
        self.inertia_ = float(model.inertia_)
        return self

    def distances(self, x: np.ndarray) -> np.ndarray:
        """Return (n, K') squared distances of rows to centres."""
        with one_thread():
            return squared_distances(np.asarray(x, dtype=np.float32), self.cluster_centers_)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the (n,) int32 index of the nearest centre; ties go to the lower index."""
        return np.asarray(self.distances(x).argmin(1), np.int32)


def _count_distinct(x: np.ndarray, enough: int) -> int:
    """Count distinct rows, but stop looking once ``enough`` are found."""
    head = len(np.unique(x[: 4 * enough], axis=0))
    return head if head >= enough else len(np.unique(x, axis=0))
