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
    centers = _start(x, draws)
    labels = torch.full(x.shape[:2], -1, dtype=torch.int64, device=x.device)
    for _ in range(MAX_ITER):
        norm = (centers * centers).sum(2)[:, None]
        before, labels = labels, torch.baddbmm(norm, x, centers.mT, beta=-1, alpha=2).argmax(2)
        if torch.equal(labels, before):
            break
        inside = one_hot(labels, k).to(x.dtype)
        count = inside.sum(1)[:, :, None]
        centers = torch.where(count > 0, inside.mT @ x / count.clamp_min(1), centers)
    return labels


def _start(x: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Return (B, K, d) centres, which are rows of ``x``."""
    import torch

    b, n, _ = x.shape
    sets = torch.arange(b, device=x.device)
    norm = (x * x).sum(2)
    chosen = [(draws[:, 0, 0] * n).long().clamp_max(n - 1)]
    nearest = (
        norm + norm[sets, chosen[0], None] - 2 * (x @ x[sets, chosen[0], :, None]).squeeze(2)
    ).clamp_min(0)
    for draw in draws.unbind(1)[1:]:
        mass = nearest.cumsum(1)
        tried = torch.searchsorted(mass, draw * mass[:, -1:]).clamp_max(n - 1)
        rows = x.gather(1, tried[:, :, None].expand(-1, -1, x.shape[2]))
        distance = norm[:, None] + norm.gather(1, tried)[:, :, None] - 2 * rows @ x.mT
        after = distance.clamp_min(0).minimum(nearest[:, None])
        best = after.sum(2).argmin(1)
        nearest = after[sets, best]
        chosen.append(tried[sets, best])
    return x[sets[:, None], torch.stack(chosen, 1)]
