"""Regions cut out of a mask, and put back: arrays alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Box", "Claim", "cut_instances", "fold_claims", "place_instance"]

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Claim:
    """Pixels that a detection takes for a class."""

    class_id: int
    top: int  # row of the first pixel of its box
    left: int  # column of that pixel
    mask: np.ndarray  # (h, w) bool, the pixels of its box, which lies within the image

    @property
    def box(self) -> tuple[slice, slice]:
        """Where its box is in the image."""
        height, width = self.mask.shape
        return np.s_[self.top : self.top + height, self.left : self.left + width]


def cut_instances(mask: np.ndarray, ids: Sequence[int], min_area: int) -> list[tuple[int, Box, np.ndarray]]:
    """Cut the connected regions of classes out of a mask.

    Args:
        mask: (H, W) class ids.
        ids: the classes.
        min_area: fewest pixels of a region.

    Returns:
        For every region its class, its box (x, y, width, height) as shares of the image's width and height,
        and its (h, w) bool mask within the box; by class, then by first pixel.
    """
    from ...masks.segments import find_segments

    chosen = np.where(np.isin(mask, list(ids)), mask, 0)
    segments = find_segments(chosen, connectivity=8)
    regions, (height, width) = segments.to_map(), mask.shape
    instances = []
    for number in np.flatnonzero(segments.area >= min_area):
        x, y, w, h = (int(value) for value in segments.box[number])
        crop = regions[y : y + h, x : x + w] == number + 1
        box = (x / width, y / height, w / width, h / height)
        instances.append((int(segments.label[number]), box, crop))
    return instances


def place_instance(box: Box, mask: np.ndarray | None, shape: tuple[int, int], class_id: int) -> Claim | None:
    """Turn a detection into the pixels that it takes.

    Args:
        box: (x, y, width, height) as shares of the image's width and height.
        mask: (h, w) of numbers or booleans, nonzero inside, stretched to the box if their sizes differ;
            ``None`` for the whole box.
        shape: (H, W) of the image.
        class_id: the class of the detection.

    Returns:
        The pixels, clipped to the image; ``None`` if there are none.
    """
    (height, width), (x, y, w, h) = shape, box
    left, top = round(x * width), round(y * height)
    right, bottom = max(left + 1, round((x + w) * width)), max(top + 1, round((y + h) * height))
    if mask is None:
        inside = np.ones((bottom - top, right - left), bool)
    else:
        inside = (mask.any(axis=2) if mask.ndim == 3 else mask) != 0
        if inside.shape != (bottom - top, right - left):
            inside = _stretch(inside, bottom - top, right - left)
    y0, x0 = max(0, -top), max(0, -left)
    inside = inside[y0 : max(y0, height - top), x0 : max(x0, width - left)]
    return Claim(class_id, top + y0, left + x0, inside) if inside.any() else None


def _stretch(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a (h, w) mask to (height, width); every pixel takes the nearest one."""
    rows = (2 * np.arange(height) + 1) * mask.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * mask.shape[1] // (2 * width)
    return mask[np.ix_(rows, columns)]


def fold_claims(mask: np.ndarray, handed_out: np.ndarray, claims: Sequence[Claim]) -> np.ndarray:
    """Put detections back into the mask that they were cut from.

    A pixel that was handed out and is claimed by nobody becomes 0. Where claims meet, one that changes the
    pixel wins over one that repeats it, so that a region that was made larger covers its neighbours; of
    several that change it, the last one.

    Args:
        mask: (H, W) class ids, before.
        handed_out: (H, W) bool, the pixels of all regions that were cut out.
        claims: the detections, as they are now.

    Returns:
        (H, W) class ids, uint8 or uint16.
    """
    top = max([int(mask.max(initial=0)), *(claim.class_id for claim in claims)])
    new = np.where(handed_out, 0, mask).astype(np.uint8 if top <= 255 else np.uint16)
    for changing in (False, True):
        for claim in claims:
            changes = mask[claim.box] != claim.class_id
            new[claim.box][claim.mask & (changes == changing)] = claim.class_id
    return new
