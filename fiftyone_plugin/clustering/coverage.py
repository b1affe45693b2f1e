"""Few items that stand for many: greedy choice by what they hold of each kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["cover"]


def cover(holdings: np.ndarray, weights: np.ndarray, count: int, chosen: Sequence[int] = ()) -> list[int]:
    """Choose items that together hold as much as possible of all kinds, the first of each kind counting most.

    Greedy maximisation of ``sum_k weights_k sqrt(sum_i holdings_ik)`` over the chosen items i, a
    feature-based submodular function (Wei, Iyer, Bilmes, "Submodularity in data subset selection and active
    learning", ICML 2015, section 3): within 1 - 1/e of the best choice.

    Args:
        holdings: (n, M) float, >= 0: how much each item has of each kind.
        weights: (M,) float, >= 0.
        count: how many to choose; fewer where there are fewer.
        chosen: items that are there already.

    Returns:
        Rows of the chosen, best first; of equals the first.
    """
    held = holdings[list(chosen)].sum(0) if len(chosen) else np.zeros(holdings.shape[1])
    left = np.ones(len(holdings), bool)
    left[list(chosen)] = False
    found: list[int] = []
    while len(found) < count and left.any():
        gain = (np.sqrt(held + holdings) - np.sqrt(held)) @ weights
        best = int(np.where(left, gain, -np.inf).argmax())
        found.append(best)
        left[best] = False
        held = held + holdings[best]
    return found
