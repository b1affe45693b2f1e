"""From a foreground map to object regions: connected components, their boxes and crops."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..features.types import Box

__all__ = ["connected_regions", "expand_box", "region_boxes"]


def connected_regions(mask: np.ndarray, min_area: float = 0.01, max_regions: int | None = None) -> np.ndarray:
    """Number the 8-connected components that are large enough; if none is, the largest one alone.

    Args:
        mask: (H, W) bool.
        min_area: smallest area kept, as a share of the image.
        max_regions: keep at most this many, the largest ones.

    Returns:
        (H, W) int32: 0 outside, 1..n inside, by falling area (ties: first in row-major order).
    """
    components, n = ndimage.label(mask, structure=np.ones((3, 3), dtype=bool))
    if n == 0:
        return np.zeros(mask.shape, dtype=np.int32)
    area = np.bincount(components.ravel(), minlength=n + 1)[1:]
    order = np.argsort(-area, kind="stable")
    keep = order[area[order] >= min_area * mask.size]
    if len(keep) == 0:
        keep = order[:1]
    keep = keep[:max_regions]
    lookup = np.zeros(n + 1, dtype=np.int32)
    lookup[keep + 1] = np.arange(1, len(keep) + 1)
    return lookup[components]


def region_boxes(regions: np.ndarray) -> list[Box]:
    """Return the tight box of regions 1..n of an (H, W) int map, in that order."""
    return [
        (s[0].start, s[1].start, s[0].stop, s[1].stop) for s in ndimage.find_objects(regions) if s is not None
    ]


def expand_box(box: Box, shape: tuple[int, int], context: float) -> Box:
    """Grow a box by ``context`` times its size on every side, clipped to the image of ``shape`` (H, W)."""
    y0, x0, y1, x1 = box
    dy, dx = round((y1 - y0) * context), round((x1 - x0) * context)
    return max(0, y0 - dy), max(0, x0 - dx), min(shape[0], y1 + dy), min(shape[1], x1 + dx)
