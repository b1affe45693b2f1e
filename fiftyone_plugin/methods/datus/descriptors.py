"""What a DatUS segment looks like, as pixels: a crop that shows it alone."""

from __future__ import annotations

import numpy as np

from ...images.boxes import PAD_COLOUR, crop_square

__all__ = ["cut_box", "native_segments", "segment_crop"]


def native_segments(segments: np.ndarray, grid: tuple[int, int], size: tuple[int, ...]) -> np.ndarray:
    """Return the (H, W) map of (h*w,) patch labels at ``size`` (H, W): each pixel that of its patch."""
    rows, columns = (((np.arange(n) + 0.5) * g / n).astype(int) for n, g in zip(size, grid, strict=True))
    return np.asarray(segments.reshape(grid)[np.ix_(rows, columns)])


def cut_box(pixels: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Cut the box of a segment out of (H, W, 3) uint8 pixels; outside its (H, W) mask they get a colour."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.ix_(range(rows[0], rows[-1] + 1), range(columns[0], columns[-1] + 1))
    return np.where(mask[box][..., None], pixels[box], np.array(colour, np.uint8))


def segment_crop(pixels: np.ndarray, mask: np.ndarray, size: int) -> np.ndarray:
    """Cut the box of one segment, its longer side ``size`` pixels; all else has the mean colour of ImageNet.

    Args:
        pixels: (H, W, 3) uint8.
        mask: (H, W) bool, not empty.
        size: side in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    cut = cut_box(pixels, mask, PAD_COLOUR)
    return crop_square(cut, (0, 0, *cut.shape[:2]), size)
