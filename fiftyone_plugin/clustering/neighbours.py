"""The most similar of many vectors, exactly, by products of matrices on a device."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_matrix

__all__ = ["largest", "nearest", "neighbour_graph"]

BLOCK = 2048  # rows of the similarity matrix at a time: 160 MB against 20,000 landmarks


def largest(values: torch.Tensor, k: int) -> torch.Tensor:
    """Return where the ``k`` largest of each row are, in no order.

    Rows are cut into groups of about sqrt(m / k): the ``k`` largest lie in the ``k`` groups with the largest
    maxima, so that little has to be sorted.

    Args:
        values: (..., m) float.
        k: at most m.

    Returns:
        (..., k) int64; which of equals is taken is arbitrary, but the same in every run.
    """
    import torch
    from torch.nn.functional import pad

    m = values.shape[-1]
    size = 1 << int(math.log2(max(1.0, math.sqrt(m / max(1, k)))))
    if size < 2:
        return values.topk(k, dim=-1, sorted=False).indices
    if rest := -m % size:
        values = pad(values, (0, rest), value=-torch.inf)
    groups = values.reshape(*values.shape[:-1], size, -1)
    best = groups.amax(-2).topk(k, dim=-1, sorted=False).indices
    steps = groups.shape[-1] * torch.arange(size, device=values.device)
    tried = (best[..., None, :] + steps[:, None]).flatten(-2)
    among = values.gather(-1, tried).topk(k, dim=-1, sorted=False).indices
    return tried.gather(-1, among)


def nearest(
    x: np.ndarray, to: np.ndarray, k: int, *, skip_self: bool = False, device: str = "cpu"
) -> np.ndarray:
    """Return the ``k`` rows of ``to`` most similar to every row of ``x``, by inner product.

    Args:
        x: (n, d) float32.
        to: (m, d) float32.
        k: neighbours, at most m (m - 1 with ``skip_self``).
        skip_self: ``x`` is ``to``, and no row is its own neighbour.
        device: torch device to work on.

    Returns:
        (n, k) int64 row numbers, ascending; which of equals is taken is arbitrary, but the same in every run.
    """
    import torch

    columns = torch.from_numpy(np.array(to, np.float32)).to(device).T
    found = np.empty((len(x), k), np.int64)
    for start in range(0, len(x), BLOCK):
        similarity = torch.from_numpy(np.array(x[start : start + BLOCK], np.float32)).to(device) @ columns
        if skip_self:
            rows = torch.arange(len(similarity), device=device)
            similarity[rows, start + rows] = -torch.inf
        found[start : start + BLOCK] = largest(similarity, k).sort(dim=1).values.cpu().numpy()
    return found


def neighbour_graph(x: np.ndarray, k: int, device: str = "cpu") -> csr_matrix:
    """Return the symmetric (n, n) graph of the ``k`` nearest neighbours of unit vectors.

    An edge weighs 1 if each is a neighbour of the other, 1/2 if only one is. Such edges were better here than
    edges weighted by similarity: whitened descriptors of one class are often not much alike.
    """
    from scipy.sparse import csr_matrix

    n = len(x)
    k = min(k, n - 1)
    columns = nearest(x, x, k, skip_self=True, device=device).ravel()
    directed = csr_matrix((np.ones(n * k), columns, np.arange(0, n * k + 1, k)), shape=(n, n))
    return (directed + directed.T) * 0.5
