"""What is learnt from: patches of labelled images with their shares of the classes, and patches of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Lesson", "Pupil", "patch_shares"]


def patch_shares(mask: np.ndarray, ids: Sequence[int], grid: tuple[int, int]) -> np.ndarray:
    """Return how much of each patch each class covers.

    Args:
        mask: (H, W) class ids; those that are not in ``ids`` are unlabelled.
        ids: the C classes.
        grid: (h, w) patches.

    Returns:
        (h * w, C) float32; rows sum to the labelled share of the patch's pixels, 0..1.
    """
    (height, width), (h, w) = mask.shape, grid
    rows = (2 * np.arange(height) + 1) * h // (2 * height)  # patch in which the middle of a pixel lies
    columns = (2 * np.arange(width) + 1) * w // (2 * width)
    patch = rows[:, None] * w + columns
    pixels = np.bincount(patch.ravel(), minlength=h * w)
    order = np.argsort(ids)
    known = np.asarray(ids)[order]
    place = np.searchsorted(known, mask).clip(0, len(known) - 1)
    labelled = known[place] == mask
    cell = patch[labelled] * len(known) + order[place[labelled]]
    counts = np.bincount(cell, minlength=h * w * len(known)).reshape(h * w, len(known))
    return (counts / np.maximum(pixels, 1)[:, None]).astype(np.float32)


@dataclass(frozen=True)
class Pupil:
    """One image in numbers.

    Attributes:
        vectors: (n, d) float32 patches.
        clusters: (n, K) float32 probabilities of the clusters.
        neighbours: (n, k) int patches that are alike, see
            :func:`~fiftyone_plugin.clustering.spreading.nearest_patches`.
        shares: (n, C) float32, see :func:`patch_shares`; ``None`` for an image that nobody has labelled.
    """

    vectors: np.ndarray
    clusters: np.ndarray
    neighbours: np.ndarray
    shares: np.ndarray | None = None


@dataclass(frozen=True)
class Lesson:
    """All that is learnt from.

    Attributes:
        labelled: images with shares; one where nothing is labelled is left out by who makes this.
        others: images without.
        matrix: (K, C) float32 names of clusters: rows sum to 1 for one that has a name, to 0 for any other.
    """

    labelled: Sequence[Pupil]
    others: Sequence[Pupil]
    matrix: np.ndarray
