"""Scores of patches, shared with similar patches of the same image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .neighbours import largest

if TYPE_CHECKING:
    import torch

__all__ = ["n_neighbours", "nearest_patches", "spread_scores"]

NEIGHBOURS = 16  # of 1,024 patches; 8 gained less, 32 as much on the whole
SHARE = 64  # no more than one patch in so many: in a small grid 16 neighbours would blur everything
FEWEST = 4
RETENTION = 0.9  # share that comes from the neighbours in every step
STEPS = 12  # the error falls by 0.63 in each: 1 % of it is left
BLOCK = {"cpu": 1 << 22}  # similarities at a time, by type of device: what stays in a cache
LARGE_BLOCK = 1 << 28


def n_neighbours(n_patches: int) -> int:
    """Return how many neighbours a patch has in the graph of an image of so many patches."""
    return min(max(n_patches // SHARE, FEWEST), NEIGHBOURS, max(0, n_patches - 1))


def nearest_patches(vectors: torch.Tensor) -> torch.Tensor:
    """Return the patches of an image that are nearest to each of them, itself left out.

    Args:
        vectors: (B, n, d) float32.

    Returns:
        (B, n, k) int64 numbers below n, k of :func:`n_neighbours`, in no order; which of equals is taken
        is arbitrary. The memory does not grow with the square of n.
    """
    import torch

    b, n, _ = vectors.shape
    k = n_neighbours(n)
    found = torch.empty((b, n, k), dtype=torch.int64, device=vectors.device)
    norm = (vectors * vectors).sum(2)[:, None]
    step = max(1, BLOCK.get(vectors.device.type, LARGE_BLOCK) // max(1, b * n))
    for start in range(0, n, step):
        # 2 x.y - y.y falls as |x - y| rises
        nearness = torch.baddbmm(norm, vectors[:, start : start + step], vectors.mT, beta=-1, alpha=2)
        rows = torch.arange(nearness.shape[1], device=vectors.device)
        nearness[:, rows, start + rows] = -torch.inf
        found[:, start : start + step] = largest(nearness, k)
    return found


def spread_scores(scores: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
    """Spread scores over the graph of the most similar patches of an image.

    A patch that the classes of its whole object contradict gives way, and outlines move to where features
    change. After Zhou, Bousquet, Lal, Weston, Schölkopf, "Learning with local and global consistency" (NIPS
    2003), section 2: the solution of F = a S F + (1 - a) Y with S the symmetrically normalised graph. Theirs
    weighs edges by a Gaussian of the distance, whose width would have to fit the backbone; here neighbours
    count alike, and twice where each is one of the other. It is solved by Chebyshev's semi-iterative method
    (Golub and Van Loan, "Matrix Computations", 4th edition, section 11.2.8), which takes a third of the
    steps of the recursion.

    Args:
        scores: (B, n, L) float32, >= 0, soft scores Y.
        neighbours: (B, n, k) int64, see :func:`nearest_patches`.

    Returns:
        (B, n, L) float32 >= 0, rows scaled to the sums of ``scores``.
    """
    import torch
    from torch.nn.functional import embedding_bag

    b, n, k = neighbours.shape
    if n < 3 or scores.shape[2] < 2:
        return scores
    graph = (neighbours + n * torch.arange(b, device=scores.device)[:, None, None]).reshape(b * n, k)
    ends, order = graph.reshape(-1).sort(stable=True)
    begins = order // k  # of the edges that lead to each patch, one patch after the other
    bounds = torch.searchsorted(ends, torch.arange(b * n + 1, device=scores.device))
    degree = (k + bounds.diff())[:, None]
    start = scores.reshape(b * n, -1)

    def step(values: torch.Tensor) -> torch.Tensor:
        out = embedding_bag(graph, values, mode="sum")
        back = embedding_bag(begins, values, bounds[:-1], mode="sum")
        return (out + back) / degree * RETENTION + start * (1 - RETENTION)

    before, spread, weight = start, step(start), 1 / (1 - RETENTION**2 / 2)
    for _ in range(STEPS - 1):
        before, spread = spread, torch.lerp(before, step(spread), weight)
        weight = 1 / (1 - RETENTION**2 * weight / 4)
    spread = spread.clamp_min(0)
    spread = spread * (start.sum(1, keepdim=True) / spread.sum(1, keepdim=True).clamp_min(1e-12))
    return spread.reshape(scores.shape)
