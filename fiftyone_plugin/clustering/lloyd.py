"""k-means on the device, of many small sets of vectors at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["draws_for", "lloyd"]

MAX_ITER = 30


def draws_for(n_clusters: int, seed: int) -> np.ndarray:
    """Return the (K, T) float32 random numbers in [0, 1) that :func:`lloyd` needs for one set."""
    trials = 2 + int(math.log(n_clusters))
    return np.random.default_rng(seed).random((n_clusters, trials), np.float32)


def lloyd(x: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Cluster each of many sets of vectors by Lloyd's algorithm from a greedy k-means++ start.

    The start is that of Arthur and Vassilvitskii, "k-means++" (SODA 2007), section 2, with the best of T
    drawn centres taken each time, as scikit-learn does it. It ends where no vector changes its cluster, or
    after 30 rounds; a set does not depend on the others.

    Args:
        x: (B, n, d) float32.
        draws: (B, K, T) of :func:`draws_for`.

    Returns:
        (B, n) int64 clusters below K, of which some may be empty.
    """
    import torch
    from torch.nn.functional import one_hot

    k = draws.shape[1]
    columns = x.mT.contiguous()  # few rows times many columns is several times as fast as the reverse
    centers = _start(x, columns, draws)
    labels = torch.full(x.shape[:2], -1, dtype=torch.int64, device=x.device)
    for _ in range(MAX_ITER):
        norm = (centers * centers).sum(2, keepdim=True)
        nearness = torch.baddbmm(norm, centers, columns, beta=-1, alpha=2)
        before, labels = labels, nearness.mT.contiguous().argmax(2)
        if torch.equal(labels, before):
            break
        inside = one_hot(labels, k).to(x.dtype)
        count = inside.sum(1)[:, :, None]
        centers = torch.where(count > 0, inside.mT @ x / count.clamp_min(1), centers)
    return labels


def _start(x: torch.Tensor, columns: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Return (B, K, d) centres, which are rows of ``x``; ``columns`` is its transpose."""
    import torch

    _, n, d = x.shape
    norm = (x * x).sum(2)

    def distances(rows: torch.Tensor) -> torch.Tensor:
        """Return the (B, T, n) squared distances from (B, T) rows."""
        own = x.gather(1, rows[:, :, None].expand(-1, -1, d))
        cross = torch.baddbmm(norm[:, None], own, columns, alpha=-2)
        return (cross + norm.gather(1, rows)[:, :, None]).clamp_min(0)

    chosen = [(draws[:, 0, :1] * n).long().clamp_max(n - 1)]
    nearest = distances(chosen[0]).squeeze(1)
    for draw in draws.unbind(1)[1:]:
        mass = nearest.cumsum(1)
        tried = torch.searchsorted(mass, draw * mass[:, -1:]).clamp_max(n - 1)
        after = distances(tried).minimum(nearest[:, None])
        best = after.sum(2).argmin(1, keepdim=True)
        nearest = after.gather(1, best[:, :, None].expand(-1, -1, n)).squeeze(1)
        chosen.append(tried.gather(1, best))
    return x.gather(1, torch.cat(chosen, 1)[:, :, None].expand(-1, -1, d))
