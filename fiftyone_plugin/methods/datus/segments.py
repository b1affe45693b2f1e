"""Segments of one image for DatUS: communities of patches, their connected parts, and what is left over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from ...clustering.communities import (
    affinity_graph,
    edge_density,
    find_communities,
    grid_edges,
    grid_graph,
    patch_vectors,
)
from ...clustering.normalize import l2_normalize
from ...common.parallel import one_thread
from .config import SegmentSettings

__all__ = ["Segments", "connected_segments", "drop_noise", "find_segments", "merge_noise"]

MAX_DENSITY = 0.95  # of the graph: beyond, nearly all patches are alike, and modularity finds nothing
MAX_COMMUNITIES = 0.25  # of the patches
MIN_COVERAGE = 0.5  # of the patches, by segments that are large enough


@dataclass(frozen=True)
class Segments:
    """Segments of one image.

    Attributes:
        labels: (h*w,) int32 segment 0..n-1 of each patch, by falling size; -1 is void.
        communities: (h*w,) int64 community of each patch.
        vectors: (h*w, D) float32 vectors that the graph was built from.
        fallback: why not the graph that was asked for: ``""`` if it was, ``"centred"``, or ``"grid"``.
    """

    labels: np.ndarray
    communities: np.ndarray
    vectors: np.ndarray
    fallback: str


def find_segments(features: np.ndarray, grid: tuple[int, int], settings: SegmentSettings) -> Segments:
    """Cut one image into segments.

    Degenerate graphs are replaced: the graph of raw keys by that of centred keys, and that by a graph of
    neighbours in the image. A graph is degenerate where it joins more than 95 % of all pairs, where it falls
    into more communities than a quarter of the patches, or where segments that are large enough cover less
    than half of the image.

    Args:
        features: (h*w, D) keys.
        grid: (h, w).
        settings: how.
    """
    n = grid[0] * grid[1]
    neighbours = None if settings.neighbours is None else min(settings.neighbours, max(4, n // 4))
    attempts = [(settings.center, "")] + ([] if settings.center else [(True, "centred")]) + [(True, "grid")]
    with one_thread():
        for center, fallback in attempts:
            vectors = patch_vectors(features, center=center)
            if fallback == "grid":
                graph = grid_graph(vectors, grid)
            else:
                graph = affinity_graph(vectors, weighted=settings.weighted, neighbours=neighbours)
                if n > 1 and (edge_density(graph) > MAX_DENSITY or graph.nnz <= n):
                    continue
            communities = find_communities(graph, settings.algorithm, settings.resolution)
            parts = connected_segments(communities, grid)
            size = np.bincount(parts)
            few = n == 1 or communities.max() + 1 <= max(1, MAX_COMMUNITIES * n)
            if fallback == "grid" or (few and size[size > settings.min_patches].sum() >= MIN_COVERAGE * n):
                break
        if settings.noise == "void":
            labels = drop_noise(parts, settings.min_patches, settings.max_segments)
        else:
            labels = merge_noise(parts, vectors, grid, settings.min_patches, settings.max_segments)
    return Segments(labels, communities, vectors, fallback)


def connected_segments(communities: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Number the 8-connected parts of every community.

    Args:
        communities: (h*w,) int.
        grid: (h, w).

    Returns:
        (h*w,) int32 parts 0..n-1, in the order in which they are met, row by row.
    """
    first, second = grid_edges(grid)
    same = communities[first] == communities[second]
    n = len(communities)
    edges = sparse.coo_matrix((np.ones(int(same.sum()), bool), (first[same], second[same])), shape=(n, n))
    return _number(connected_components(edges, directed=False)[1])


def _number(labels: np.ndarray, by_size: bool = False) -> np.ndarray:
    """Renumber labels from 0 by first occurrence, or by falling size and then first occurrence, as int32."""
    _, start, inverse, count = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((start, -count)) if by_size else np.argsort(start, kind="stable")
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank[inverse.ravel()]


def drop_noise(parts: np.ndarray, min_patches: int, max_segments: int) -> np.ndarray:
    """Keep the largest ``max_segments`` parts of more than ``min_patches`` patches, numbered by falling size.

    Returns:
        (n,) int32; -1 elsewhere.
    """
    ranked = _number(parts, by_size=True)
    size = np.bincount(ranked)
    kept = min(int((size > min_patches).sum()), max_segments)
    return np.where(ranked < kept, ranked, -1).astype(np.int32)


def merge_noise(
    parts: np.ndarray, vectors: np.ndarray, grid: tuple[int, int], min_patches: int, max_segments: int
) -> np.ndarray:
    """Join parts that are too small, or too many, with the adjacent part of highest mean affinity.

    The smallest part goes first (ties: the first one met), and affinities are taken anew after each step, so
    that several small parts can grow into one that is large enough.

    Args:
        parts: (n,) int parts 0..p-1, connected.
        vectors: (n, D) float; the affinity of two parts is the mean cosine over all pairs of their patches.
        grid: (h, w).
        min_patches: a part needs more patches than this, unless it is the only one.
        max_segments: at least 1.

    Returns:
        (n,) int32 parts, by falling size.
    """
    parts = np.asarray(parts).copy()
    n = int(parts.max()) + 1
    size = np.bincount(parts, minlength=n).astype(np.float64)
    total = _member(parts, n) @ l2_normalize(vectors)
    first, second = grid_edges(grid)
    adjacent = np.zeros((n, n), bool)
    adjacent[parts[first], parts[second]] = adjacent[parts[second], parts[first]] = True
    np.fill_diagonal(adjacent, False)
    target = np.arange(n)
    while (left := int((size > 0).sum())) > 1:
        smallest = int(np.where(size > 0, size, np.inf).argmin())
        if size[smallest] > min_patches and left <= max_segments:
            break
        around = np.flatnonzero(adjacent[smallest])
        affinity = (total[around] @ total[smallest]) / size[around]
        into = int(around[affinity.argmax()])
        target[target == smallest] = into
        total[into] += total[smallest]
        size[into] += size[smallest]
        size[smallest] = 0
        adjacent[into] |= adjacent[smallest]
        adjacent[:, into] |= adjacent[:, smallest]
        adjacent[smallest] = adjacent[:, smallest] = False
        adjacent[into, into] = False
    return _number(target[parts], by_size=True)


def _member(labels: np.ndarray, n: int) -> sparse.csr_matrix:
    """Return the (n, len(labels)) float32 matrix that sums rows by label."""
    rows = np.arange(len(labels))
    return sparse.csr_matrix((np.ones(len(labels), np.float32), (labels, rows)), shape=(n, len(labels)))
