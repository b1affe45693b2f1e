"""Communities in the affinity graph of one image's patches.

Edges join patches whose features point the same way. On features with a large common component (raw keys of
DINOv2) every pair of patches does, the graph is complete, and modularity then puts every patch in a community
of its own; centring within the image removes that component.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ..common.parallel import one_thread
from ..errors import UsageError
from .normalize import l2_normalize

__all__ = [
    "ALGORITHMS",
    "affinity_graph",
    "edge_density",
    "find_communities",
    "grid_graph",
    "patch_vectors",
]

ALGORITHMS = ("louvain", "leiden")


def patch_vectors(features: np.ndarray, *, center: bool) -> np.ndarray:
    """Return (n, D) features of one image as float32, minus their mean if ``center``."""
    x = np.asarray(features, np.float32)
    return x - x.mean(0, dtype=np.float64).astype(np.float32) if center else x


def affinity_graph(
    vectors: np.ndarray, *, weighted: bool = True, neighbours: int | None = 30
) -> sparse.csr_matrix:
    """Build the graph of the patches of one image; every patch with a non-zero vector is its own neighbour.

    Without weights and limit this is the rule of DatUS (section III-B): an edge where the product is > 0.

    Args:
        vectors: (n, D) float32.
        weighted: edges weigh the cosine of the angle between the vectors, else 1.
        neighbours: keep only edges that are among this many strongest (cosine) of one of their ends, itself
            counted; ties at the limit are kept. ``None`` for all edges.

    Returns:
        (n, n) float32, symmetric, without negative or explicit zero entries.
    """
    scaled = l2_normalize(vectors)
    n = len(scaled)
    with one_thread():
        affinity = scaled @ scaled.T
    edges = affinity > 0
    if neighbours is not None and neighbours < n:
        edges &= affinity >= np.partition(affinity, n - neighbours, axis=1)[:, n - neighbours, None]
    edges |= edges.T  # rounding, and the limit, are not symmetric
    edges &= affinity > 0
    edges &= edges.T
    indices = np.flatnonzero(edges)
    indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(edges, axis=1))])
    values = ((affinity + affinity.T) / 2).ravel()[indices] if weighted else np.ones(len(indices), np.float32)
    columns = (indices % n).astype(np.int32)
    return sparse.csr_matrix((values.astype(np.float32), columns, indptr.astype(np.int32)), shape=(n, n))


def grid_graph(vectors: np.ndarray, grid: tuple[int, int]) -> sparse.csr_matrix:
    """Build the graph that joins each patch with its (up to 8) neighbours in the image alone.

    Its communities are compact pieces of the image whatever the features are. Edges between (h*w, D) vectors
    weigh (1 + cosine) / 2, and at least 0.01; the (h*w, h*w) graph is symmetric, float32.
    """
    scaled = l2_normalize(vectors)
    first, second = grid_edges(grid)
    weight = np.maximum((1 + (scaled[first] * scaled[second]).sum(1)) / 2, 0.01)
    n = grid[0] * grid[1]
    half = sparse.coo_matrix((weight, (first, second)), shape=(n, n))
    return sparse.csr_matrix(half + half.T, dtype=np.float32)


def grid_edges(grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return both ends of the edges between 8-neighbours of an (h, w) grid, each edge once."""
    index = np.arange(grid[0] * grid[1]).reshape(grid)
    pairs = [
        (index[:, :-1], index[:, 1:]),
        (index[:-1], index[1:]),
        (index[:-1, :-1], index[1:, 1:]),
        (index[:-1, 1:], index[1:, :-1]),
    ]
    first, second = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    return first, second


def edge_density(graph: sparse.csr_matrix) -> float:
    """Return the share of pairs of different nodes that an edge joins, in [0, 1]; 0 for a single node."""
    n = graph.shape[0]
    loops = int(np.count_nonzero(graph.diagonal()))
    return (graph.nnz - loops) / (n * (n - 1)) if n > 1 else 0.0


def find_communities(
    graph: sparse.csr_matrix, algorithm: str = "louvain", resolution: float = 1.0
) -> np.ndarray:
    """Partition a graph by modularity with scikit-network; deterministic, as nodes are not shuffled.

    Args:
        graph: (n, n) symmetric, non-negative.
        algorithm: ``louvain`` (Blondel et al. 2008); or ``leiden`` (Traag, Waltman, van Eck 2019), which
            never joins badly connected nodes, at about three times the time.
        resolution: higher values give more communities.

    Returns:
        (n,) int64 communities 0..c-1, by falling size; all singletons for a graph without edges.

    Raises:
        UsageError: unknown algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise UsageError(f"unknown community detection {algorithm!r}; known: {', '.join(ALGORITHMS)}")
    if graph.nnz == 0:
        return np.arange(graph.shape[0], dtype=np.int64)
    from sknetwork.clustering import Leiden, Louvain

    estimator = {"louvain": Louvain, "leiden": Leiden}[algorithm]
    found = estimator(resolution=resolution, return_probs=False, return_aggregate=False)
    return np.asarray(found.fit_predict(graph), np.int64)
