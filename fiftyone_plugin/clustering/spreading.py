"""Scores of patches, shared with similar patches of the same image."""

from __future__ import annotations

import numpy as np

from ..common.parallel import one_thread
from .spectral import neighbour_graph, scale_edges

__all__ = ["n_neighbours", "spread_scores"]

NEIGHBOURS = 16  # of 1,024 patches; 8 gained less, 32 as much on the whole
SHARE = 64  # no more than one patch in so many: in a small grid 16 neighbours would blur everything
FEWEST = 4
RETENTION = 0.9  # share that comes from the neighbours in every step
STEPS = 30  # RETENTION to this power is what is left of the sum that is not taken


def n_neighbours(n_patches: int) -> int:
    """Return how many neighbours a patch has in the graph of an image of so many patches."""
    return int(np.clip(n_patches // SHARE, FEWEST, NEIGHBOURS))


def spread_scores(scores: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Spread scores over the graph of the most similar patches of an image.

    A patch that the classes of its whole object contradict gives way, and outlines move to where features
    change. After Zhou, Bousquet, Lal, Weston, Schölkopf, "Learning with local and global consistency" (NIPS
    2003), section 2: F <- a S F + (1 - a) Y with S the symmetrically normalised graph. Theirs weighs edges by
    a Gaussian of the distance, whose width would have to fit the backbone; here neighbours count alike.

    Args:
        scores: (n, L) float, >= 0, soft scores Y.
        vectors: (n, d) float32 unit vectors that say which patches are alike.

    Returns:
        (n, L) float32 >= 0, rows scaled to the sums of ``scores``.
    """
    scores = np.asarray(scores, np.float32)
    if len(vectors) < 3 or scores.shape[1] < 2:
        return scores
    with one_thread():  # sums over threads would differ in their last bits from run to run
        graph = neighbour_graph(vectors, n_neighbours(len(vectors)))
    root = np.sqrt(np.asarray(graph.sum(axis=1), np.float32))
    walk = scale_edges(graph, 1 / root.ravel()).astype(np.float32)
    start = scores * root
    spread = start
    for _ in range(STEPS):
        spread = RETENTION * (walk @ spread) + (1 - RETENTION) * start
    spread /= root
    spread *= scores.sum(1, keepdims=True) / np.maximum(spread.sum(1, keepdims=True), 1e-12)
    return spread
