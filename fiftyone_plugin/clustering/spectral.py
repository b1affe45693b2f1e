"""Spectral clustering of vectors on their nearest-neighbour graph, by landmarks where there are too many.

The normalised Laplacian and the row-normalised embedding are those of Ng, Jordan and Weiss, "On spectral
clustering" (NIPS 2001), its columns weighted as in diffusion maps (Coifman and Lafon, 2006); the number of
clusters is read off the largest gap between its eigenvalues (von Luxburg, "A tutorial on spectral
clustering", 2007, section 8.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin

from ..common.parallel import one_thread
from ..errors import UsageError
from .kmeans import ReproducibleKMeans
from .neighbours import nearest, neighbour_graph
from .normalize import l2_normalize

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = [
    "LandmarkSpectral",
    "agreement",
    "average_linkage",
    "choose_n_clusters",
    "cut_embedding",
    "diffusion_rows",
    "majority",
]

View = Callable[[np.ndarray], np.ndarray]

VOTERS = 5
SHARPNESS = 2
DIFFUSION = 4  # steps of the random walk; 3 to 8 were much alike, from 15 on small classes are lost
SMALLEST = 0.2  # smallest cluster, as a share of the mean size
MAX_LINKAGE = 8_000  # rows in average linkage, which takes memory for all pairs: 1 GB


def agreement(graphs: Sequence[csr_matrix]) -> csr_matrix:
    """Return the element-wise square of the mean of (n, n) graphs.

    An edge that all of them have counts for much more than one that a single graph has;
    benchmarks/notes/mosaic.md has what that gives.
    """
    return (sum(graphs[1:], graphs[0]) / len(graphs)).power(SHARPNESS).tocsr()


def choose_n_clusters(eigenvalues: np.ndarray, lowest: int, highest: int) -> int:
    """Return the number of clusters, in a range, before the largest relative gap of ascending eigenvalues."""
    highest = min(highest, len(eigenvalues) - 1)
    lowest = min(lowest, highest)
    candidates = np.arange(lowest, highest + 1)
    # relative to the level reached, as absolute gaps shrink along the spectrum and favour the smallest K; the
    # floor keeps steps among eigenvalues near 0 from counting as large ones
    floor = 0.05 * float(eigenvalues[highest])
    gap = (eigenvalues[candidates] - eigenvalues[candidates - 1]) / (eigenvalues[candidates] + floor + 1e-12)
    return int(candidates[gap.argmax()])


def diffusion_rows(embedding: np.ndarray, eigenvalues: np.ndarray, n_columns: int) -> np.ndarray:
    """Return unit rows in which columns count by how long a random walk on the graph remembers them.

    A column of Laplacian eigenvalue mu is scaled by (1 - mu)^t: distances are then those of the distributions
    of a random walk after t steps (diffusion maps: Coifman and Lafon, 2006, section 2). With plain columns
    the last ones, which separate a handful of regions each, count as much as the first.

    Args:
        embedding: (n, E) eigenvectors, columns by rising eigenvalue.
        eigenvalues: (E,) of the normalised Laplacian.
        n_columns: how many columns to keep, at most E.

    Returns:
        (n, n_columns) rows of unit length.
    """
    memory = np.clip(1.0 - eigenvalues[:n_columns], 0.0, 1.0) ** DIFFUSION
    return l2_normalize(embedding[:, :n_columns] * memory.astype(embedding.dtype))


def cut_embedding(embedding: np.ndarray, eigenvalues: np.ndarray, n_clusters: int) -> np.ndarray:
    """Cluster rows of Laplacian eigenvectors into K; nothing in it is random.

    Average linkage on :func:`diffusion_rows` of the first K eigenvectors, then every row goes to the nearest
    mean. k-means prefers clusters of one size: it splits a large class, grass say, and joins small ones in
    exchange. Average linkage does not, and the last step puts right what its early merges got wrong.

    Args:
        embedding: (n, E) float, columns by rising eigenvalue.
        eigenvalues: (E,) of the normalised Laplacian, ascending.
        n_clusters: K, at most E and n.

    Returns:
        (n,) int64 clusters 0, 1, ..., each of which occurs; fewer than K where fewer rows are distinct.
    """
    rows = diffusion_rows(embedding, eigenvalues, n_clusters)
    some = rows[:: -(-len(rows) // MAX_LINKAGE)]
    labels = average_linkage(some, min(n_clusters, len(some)))
    means = np.zeros((labels.max() + 1, rows.shape[1]))
    np.add.at(means, labels[labels >= 0], some[labels >= 0])
    with one_thread():
        nearest_mean = (rows @ l2_normalize(means).T).argmax(1)
    return np.unique(nearest_mean, return_inverse=True)[1].astype(np.int64)


def average_linkage(x: np.ndarray, n_clusters: int) -> np.ndarray:
    """Cut the tree of average linkage of the rows of (n, d) ``x`` into K clusters and, maybe, outliers.

    The tree is cut where there are K clusters with at least a fifth of the mean size n / K; where there are
    never so many of that size, half of it is tried, and so on. So a few odd rows, which join last, do not
    take the place of clusters (the minimum cluster size of Campello, Moulavi, Sander, "Density-based
    clustering based on hierarchical density estimates", 2013). The memory is 16 n^2 bytes.

    Args:
        x: (n, d) float.
        n_clusters: K, 1 <= K <= n.

    Returns:
        (n,) int64 clusters 0..K-1, and -1 for rows in smaller groups.
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(x)
    if n == 1:
        return np.zeros(1, np.int64)
    tree = linkage(x.astype(np.float64), "average")
    merges, sizes = tree[:, :2].astype(np.int64), np.concatenate([np.ones(n), tree[:, 3]])
    least = max(1.0, SMALLEST * n / n_clusters)
    while True:
        large = sizes >= least
        # how many large clusters there are after each merge, which changes by at most one
        change = large[n:].astype(int) - large[merges].sum(1)
        count = np.concatenate([[large[:n].sum()], large[:n].sum() + change.cumsum()])
        if (count == n_clusters).any():
            break
        least /= 2
    merges = merges[: np.flatnonzero(count == n_clusters).max()]
    parents = np.repeat(n + np.arange(len(merges)), 2)
    links = coo_matrix((np.ones(len(parents)), (parents, merges.ravel())), shape=(n + len(merges),) * 2)
    component = connected_components(links, directed=False)[1][:n]
    _, component, size = np.unique(component, return_inverse=True, return_counts=True)
    numbers = np.where(size >= least, np.cumsum(size >= least) - 1, -1)
    return numbers[component]


def majority(votes: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return the (n,) int64 cluster that most of (n, V) votes name; ties go to the lower one."""
    count = np.zeros((len(votes), n_clusters), np.int32)
    np.add.at(count, (np.arange(len(votes))[:, None], votes), 1)
    return np.asarray(count.argmax(1))


@dataclass(eq=False, repr=False)
class LandmarkSpectral(ClusterMixin, BaseEstimator):
    """Spectral clustering of unit vectors; beyond ``max_landmarks`` rows, the rest follow their neighbours.

    Args:
        n_clusters: K, or ``auto`` for the eigengap between ``auto_range``.
        neighbours: of every landmark in the graph.
        max_landmarks: rows that the graph is built on, drawn at random where there are more.
        auto_range: smallest and largest K of ``auto``; eigenvectors are kept up to the largest, so that the
            rows can be cut at another K later.
        random_state: seed.
        device: torch device that neighbours are looked for on.

    Attributes:
        n_clusters_: clusters found.
        landmarks_: (m, d) float32 rows that the graph was built on.
        landmark_rows_: (m,) int64 their row numbers, ascending.
        landmark_labels_: (m,) int64 their clusters, 0..K-1.
        labels_: (n,) int64 clusters of all rows.
        eigenvalues_: (E,) ascending eigenvalues of the normalised Laplacian, as many as were computed.
        embedding_: (m, E) float32 eigenvectors times D^-1/2; no columns where there were too few rows.
        graph_: (m, m) symmetric graph of the landmarks, see :func:`agreement`; empty if they were too few.
        voters_: (n, V) int64 landmarks whose majority decides about a row.
    """

    n_clusters: int | Literal["auto"] = 20
    _: KW_ONLY
    neighbours: int = 30
    max_landmarks: int = 20_000
    auto_range: tuple[int, int] = (5, 60)
    random_state: int = 0
    device: str = "cpu"

    def fit(self, x: np.ndarray, y: None = None, *, views: Sequence[View] = ()) -> LandmarkSpectral:
        """Cluster the unit rows of (n, d) ``x``, n >= 1.

        Args:
            x: (n, d) float32 unit rows.
            y: not used.
            views: other descriptions of the same rows: functions from (m,) row numbers to (m, d') unit rows.
                Edges on which the graphs of the views agree weigh more.

        Raises:
            UsageError: no rows, or fewer than one cluster asked for.
        """
        if self.n_clusters != "auto" and int(self.n_clusters) < 1:
            raise UsageError(f"spectral clustering needs at least 1 cluster, got {self.n_clusters}")
        x = np.ascontiguousarray(x, np.float32)
        if len(x) == 0:
            raise UsageError("spectral clustering needs at least one vector")
        rng = np.random.default_rng(self.random_state)
        rows = np.sort(rng.permutation(len(x))[: self.max_landmarks])
        self.landmark_rows_ = rows
        self.landmarks_ = x[rows]
        with one_thread():  # sums over threads would differ in their last bits from run to run
            self.landmark_labels_ = self._cluster(self.landmarks_, [view(rows) for view in views])
        self.n_clusters_ = int(self.landmark_labels_.max()) + 1
        self.voters_ = np.arange(len(x))[:, None] if len(rows) == len(x) else self._nearest_landmarks(x)
        self.labels_ = majority(self.landmark_labels_[self.voters_], self.n_clusters_)
        return self

    def _cluster(self, x: np.ndarray, views: list[np.ndarray]) -> np.ndarray:
        from scipy.sparse import csr_matrix

        auto = self.n_clusters == "auto"
        wanted = self.auto_range[1] if auto else int(self.n_clusters)
        distinct = len(np.unique(x, axis=0))
        # too few for a graph; they are their own clusters
        if distinct <= max(3, 2 * (2 if auto else wanted)):
            self.eigenvalues_, self.embedding_ = np.zeros(0), np.zeros((len(x), 0), np.float32)
            self.graph_ = csr_matrix((len(x), len(x)))
            kmeans = ReproducibleKMeans(min(wanted, distinct), random_state=self.random_state)
            return kmeans.fit(x).labels_
        self.graph_ = agreement([neighbour_graph(v, self.neighbours, self.device) for v in (x, *views)])
        self.eigenvalues_, vectors = _laplacian_eigenvectors(
            self.graph_, max(wanted, self.auto_range[1]) + 1, self.random_state
        )
        self.embedding_ = vectors.astype(np.float32)
        k = choose_n_clusters(self.eigenvalues_, *self.auto_range) if auto else wanted
        return cut_embedding(self.embedding_, self.eigenvalues_, min(k, self.embedding_.shape[1]))

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the (n,) int64 cluster of most of the 5 nearest landmarks; ties go to the lower one."""
        return majority(self.landmark_labels_[self._nearest_landmarks(x)], self.n_clusters_)

    def _nearest_landmarks(self, x: np.ndarray) -> np.ndarray:
        with one_thread():
            return nearest(x, self.landmarks_, min(VOTERS, len(self.landmarks_)), device=self.device)


def _laplacian_eigenvectors(graph: csr_matrix, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``k`` smallest eigenvalues of the normalised Laplacian, and eigenvectors times D^-1/2.

    Every connected component has an eigenvalue 0 and a known eigenvector. These are taken out of the matrix
    before Lanczos' method is started, which finds only some of equal eigenvalues. Of more than ``k``
    components the largest count.
    """
    from scipy.sparse import diags
    from scipy.sparse.csgraph import connected_components
    from scipy.sparse.linalg import LinearOperator, eigsh

    n = graph.shape[0]
    k = min(k, n - 2)
    degree = np.asarray(graph.sum(axis=1)).ravel()
    root = np.sqrt(degree)
    normalised = (diags(1 / root) @ graph @ diags(1 / root)).tocsr()
    _, component = connected_components(graph, directed=False)
    largest = np.argsort(-np.bincount(component, weights=degree), kind="stable")[:k]
    known = root[:, None] * (component[:, None] == largest)
    known /= np.linalg.norm(known, axis=0)
    values, vectors = np.ones(len(largest)), known
    if len(largest) < k:

        def deflated(x: np.ndarray) -> np.ndarray:
            x = x.ravel()
            return np.asarray(normalised @ x - known @ (known.T @ x))

        operator = LinearOperator((n, n), matvec=deflated, dtype=np.float64)
        start = np.random.default_rng(seed).normal(size=n)  # scipy's own start is not seeded
        found, rest = eigsh(operator, k - len(largest), which="LA", v0=start, tol=1e-5)
        order = np.argsort(-found, kind="stable")
        values, vectors = np.concatenate([values, found[order]]), np.hstack([known, rest[:, order]])
    return 1.0 - values, vectors / root[:, None]
