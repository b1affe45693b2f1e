"""Confidence intervals over images: resample images with replacement, pool again, score again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["pooled_replicates", "resample", "weighted_means"]

# numbers held at once, 8 bytes each
CHUNK = 1 << 22


def resample(n: int, replicates: int, seed: int, width: int = 1) -> Iterator[np.ndarray]:
    """Yield how often each of ``n`` images is drawn in each replicate, in (b, n) chunks.

    The draws depend on ``seed`` alone, not on the chunking.

    Args:
        n: images.
        replicates: rows of all chunks together.
        seed: seeds the draws.
        width: numbers the caller will hold for each row, so that chunks stay small.
    """
    rng = np.random.default_rng(seed)
    size = max(1, min(replicates, CHUNK // max(n, width)))
    for start in range(0, replicates, size):
        draws = range(min(size, replicates - start))
        yield np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in draws])


def pooled_replicates(
    matrices: csr_matrix,
    shape: tuple[int, int],
    score: Callable[[np.ndarray], dict[str, np.ndarray]],
    replicates: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Score the pooled counts of every replicate.

    Args:
        matrices: (images, R * C) counts.
        shape: (R, C).
        score: (b, R, C) counts -> score name -> (b,) values.
        replicates: how many.
        seed: see :func:`resample`.

    Returns:
        score name -> (replicates,) values.
    """
    transposed = matrices.T.tocsr()
    chunks = [
        score((transposed @ weights.T).T.reshape(-1, *shape))
        for weights in resample(matrices.shape[0], replicates, seed, matrices.shape[1])
    ]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def weighted_means(values: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Return the (replicates,) mean of per-image ``values`` (n,) in every replicate, nan skipped."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    with np.errstate(invalid="ignore"):
        return np.concatenate([(w @ filled) / (w @ known) for w in resample(values.size, replicates, seed)])
