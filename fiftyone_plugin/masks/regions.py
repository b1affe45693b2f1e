"""From a foreground map to object regions: connected components, their boxes and crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..images.boxes import Box
from .segments import find_segments

__all__ = ["MaskRegions", "connected_regions", "find_regions", "near_boundary", "region_boxes"]


def near_boundary(labels: np.ndarray, width: int) -> np.ndarray:
    """Return the pixels, (H, W) bool, of which a neighbour within ``width`` (a square) has another id."""
    side = 2 * width + 1
    low, high = (f(labels, side, mode="nearest") for f in (ndimage.minimum_filter, ndimage.maximum_filter))
    return np.asarray(low != high)


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
    area = np.bincount(components.ravel(), minlength=n + 1)[1:]
    order = np.argsort(-area, kind="stable")
    large = order[area[order] >= min_area * mask.size]
    keep = (large if len(large) else order[:1])[:max_regions]
    lookup = np.zeros(n + 1, dtype=np.int32)
    lookup[keep + 1] = np.arange(1, len(keep) + 1)
    return np.asarray(lookup[components])


def region_boxes(regions: np.ndarray) -> list[Box]:
    """Return the tight box of regions 1..n of an (H, W) int map, in that order."""
    return [
        (s[0].start, s[1].start, s[0].stop, s[1].stop) for s in ndimage.find_objects(regions) if s is not None
    ]


@dataclass(frozen=True)
class MaskRegions:
    """Connected regions of one class each.

    Attributes:
        map: (H, W) int64 region of every pixel, counted from 1; 0 belongs to none.
        label: (R,) int64 class of every region.
        area: (R,) int64 pixels of every region.
    """

    map: np.ndarray
    label: np.ndarray
    area: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def paint(self, label: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return the (H, W) mask whose regions have the classes ``label`` (R,), and elsewhere ``mask``."""
        top = max(int(mask.max(initial=0)), int(label.max(initial=0)))
        table = np.concatenate([[0], label]).astype(np.uint8 if top <= 255 else np.uint16)
        return np.where(self.map > 0, table[self.map], mask.astype(table.dtype))


def find_regions(mask: np.ndarray, ids: Sequence[int] | None = None) -> MaskRegions:
    """Find the 8-connected regions of an (H, W) mask of ids within 0..65,535, or of these classes alone.

    0 belongs to no region.
    """
    chosen = mask if ids is None else np.where(np.isin(mask, list(ids)), mask, 0)
    segments = find_segments(chosen, connectivity=8)
    return MaskRegions(segments.to_map(), segments.label, segments.area)
