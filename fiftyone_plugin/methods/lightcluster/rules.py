"""Which clusters are foreground, decided without labels."""

from __future__ import annotations

import numpy as np

from ...errors import UsageError

__all__ = ["FOREGROUND_RULES", "foreground_by_majority", "foreground_clusters", "soft_foreground"]

FOREGROUND_RULES = ("border", "attention", "both")


def foreground_clusters(
    labels: np.ndarray,
    n_clusters: int,
    border: np.ndarray,
    attention: np.ndarray | None = None,
    rule: str = "border",
    border_ratio: float = 0.8,
) -> np.ndarray:
    """Decide for every cluster of a data set whether it is foreground. Ties are background.

    ``border``: objects avoid the frame, so a cluster is foreground if the share of its patches on the image
    border is below ``border_ratio`` times the share over all patches. ``attention``: its mean CLS attention,
    in units of the image's mean, is above 1. ``both``: both hold.

    Args:
        labels: (n,) int cluster of each patch.
        n_clusters: number of clusters.
        border: (n,) bool, whether the patch lies on its image's border.
        attention: (n,) float CLS attention divided by its image's mean; needed by the last two rules.
        rule: one of :data:`FOREGROUND_RULES`.
        border_ratio: see above.

    Returns:
        (n_clusters,) bool.
    """
    if rule not in FOREGROUND_RULES:
        raise UsageError(f"unknown foreground rule {rule!r}; known: {', '.join(FOREGROUND_RULES)}")
    count = np.maximum(np.bincount(labels, minlength=n_clusters), 1)
    decided = np.ones(n_clusters, dtype=bool)
    if rule in ("border", "both"):
        rate = np.bincount(labels, weights=border, minlength=n_clusters) / count
        decided &= rate < border_ratio * border.mean()
    if rule in ("attention", "both"):
        if attention is None:
            raise UsageError(
                f"foreground rule {rule!r} needs the CLS attention of a backbone with a CLS token"
            )
        decided &= np.bincount(labels, weights=attention, minlength=n_clusters) / count > 1.0
    decided &= np.bincount(labels, minlength=n_clusters) > 0
    return decided


def foreground_by_majority(labels: np.ndarray, n_clusters: int, coarser: np.ndarray) -> np.ndarray:
    """Return (n_clusters,) bool: more than half of the cluster's patches are foreground one level up.

    Args:
        labels: (n,) int cluster of each patch.
        n_clusters: number of clusters.
        coarser: (n,) bool foreground at the coarser level.
    """
    count = np.bincount(labels, minlength=n_clusters)
    inside = np.bincount(labels, weights=coarser, minlength=n_clusters)
    return 2 * inside > count


def soft_foreground(distances: np.ndarray, foreground: np.ndarray, temperature: float) -> np.ndarray:
    """Turn distances to centres into the probability of foreground.

    The log-odds are the difference between the squared distances to the nearest background and the nearest
    foreground centre, divided by ``temperature``; 0.5 lies exactly where the hard decision flips.

    Args:
        distances: (n, K) squared distances to the centres.
        foreground: (K,) bool.
        temperature: > 0, in the units of ``distances``.

    Returns:
        (n,) float32 in [0, 1]; constant where all centres are on one side.
    """
    if foreground.all() or not foreground.any():
        return np.full(len(distances), float(foreground.any()), dtype=np.float32)
    margin = distances[:, ~foreground].min(1) - distances[:, foreground].min(1)
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(margin / temperature, -30.0, 30.0))), np.float32)
