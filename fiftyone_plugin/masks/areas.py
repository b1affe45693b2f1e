"""How much of the pictures every class covers: in one mask, and in all masks of a run."""

from __future__ import annotations

import numpy as np

__all__ = ["class_shares"]

DECIMALS = 4


def class_shares(mask: np.ndarray) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the classes of a mask and the share of its pixels that each covers.

    Args:
        mask: (H, W) int, class ids; 0 is no class.

    Returns:
        ids, ascending; and their shares in [0, 1] in the same order, rounded to four decimals.

    Example:
        >>> class_shares(np.array([[0, 7], [2, 2]]))
        ((2, 7), (0.5, 0.25))
    """
    ids, counts = np.unique(mask, return_counts=True)
    found = zip(ids.tolist(), counts.tolist(), strict=True)
    shares = {id_: round(count / mask.size, DECIMALS) for id_, count in found if id_}
    return tuple(shares), tuple(shares.values())
