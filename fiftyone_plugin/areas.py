"""How much of the pictures every class covers: in one mask, and in all masks of a run."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .rundir import SampleRow

__all__ = ["class_shares", "total_areas"]

DECIMALS = 4


def class_shares(mask: np.ndarray) -> tuple[str, str]:
    """Return the classes of a mask and the share of its pixels that each covers, as tables store them.

    Args:
        mask: (H, W) int, class ids; 0 is no class.

    Returns:
        ids, ascending, joined by spaces; and their shares in [0, 1] in the same order, rounded to four
        decimals.

    Example:
        >>> class_shares(np.array([[0, 7], [2, 2]]))
        ('2 7', '0.5 0.25')
    """
    ids, counts = np.unique(mask, return_counts=True)
    shares = {int(id_): int(count) / mask.size for id_, count in zip(ids, counts, strict=True) if id_}
    texts = (f"{round(share, DECIMALS):g}" for share in shares.values())
    return " ".join(map(str, shares)), " ".join(texts)


def total_areas(rows: Iterable[SampleRow]) -> dict[int, float]:
    """Return the share of all pixels of the labelled images that each class covers, in [0, 1], ids ascending.

    Large images count for more. The values are those of the rows, so they are right to about four decimals.
    """
    areas: dict[int, float] = {}
    pixels = 0
    for row in rows:
        if row.status != "labelled":
            continue
        size = row.width * row.height
        pixels += size
        for id_, share in row.class_shares.items():
            areas[id_] = areas.get(id_, 0.0) + share * size
    return {id_: round(areas[id_] / pixels, DECIMALS) for id_ in sorted(areas)}
