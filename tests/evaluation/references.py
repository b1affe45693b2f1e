"""Masks to evaluate, and slow obvious references to evaluate them with."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


def blocky(
    rng: np.random.Generator, n_ids: int, size: tuple[int, int] = (48, 64), block: int = 8
) -> np.ndarray:
    """Return (H, W) ids in square patches, as masks of patch features look."""
    grid = rng.integers(0, n_ids, (-(-size[0] // block), -(-size[1] // block)))
    return np.kron(grid, np.ones((block, block), np.int64))[: size[0], : size[1]]


def slow_confusion(pred, true, ignore=()) -> dict[tuple[int, int], int]:
    cells: dict[tuple[int, int], int] = {}
    for p, t in zip(np.ravel(pred).tolist(), np.ravel(true).tolist(), strict=True):
        if t not in ignore:
            cells[p, t] = cells.get((p, t), 0) + 1
    return cells


def as_cells(table) -> dict[tuple[int, int], int]:
    return {
        (int(k), int(c)): int(table.counts[i, j])
        for i, k in enumerate(table.pred_ids)
        for j, c in enumerate(table.true_ids)
        if table.counts[i, j]
    }


def best_total(value: np.ndarray) -> float:
    """Return the largest sum of ``value`` (K, C) over all one-to-one matchings, by trying every one."""
    value = np.asarray(value, float)
    if value.shape[0] > value.shape[1]:
        value = value.T
    k, c = value.shape
    return max(
        sum(value[i, j] for i, j in enumerate(columns)) for columns in itertools.permutations(range(c), k)
    )


def masks(max_id: int = 5, dtype=np.uint8):
    """Strategy: pairs of masks of one size, up to 8x8."""
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8)
    elements = st.integers(0, max_id)
    return shapes.flatmap(
        lambda shape: st.tuples(
            hnp.arrays(dtype, shape, elements=elements), hnp.arrays(dtype, shape, elements=elements)
        )
    )


def counts(max_side: int = 5, max_count: int = 50):
    """Strategy: (K, C) tables of pixel counts with at least one pixel."""
    return hnp.arrays(
        np.int64,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=max_side),
        elements=st.integers(0, max_count),
    ).filter(lambda table: table.sum() > 0)


def pairs(n=12, clusters=5, seed=0, purity=0.8):
    """Images of three classes, and clusters that mostly follow them; id 0 of the truth is unlabelled."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        true = blocky(rng, 3) + 1
        pred = np.where(
            rng.random(true.shape) < purity, true * 10, rng.integers(1, clusters + 1, true.shape) * 10
        )
        pred[:3] = 0
        true[-2:] = 0
        found.append((f"image{i}", pred, true))
    return found
