"""Boxes in images: grown, and cut out."""

from __future__ import annotations

import numpy as np

from .reading import resize_image

__all__ = ["PAD_COLOUR", "Box", "crop_square", "expand_box"]

Box = tuple[int, int, int, int]
"""(y0, x0, y1, x1) in native pixels, end exclusive."""

PAD_COLOUR = (124, 116, 104)  # the mean of ImageNet, near zero after normalisation


def expand_box(box: Box, shape: tuple[int, int], context: float) -> Box:
    """Grow a box by ``context`` times its size on every side, clipped to the image of ``shape`` (H, W)."""
    y0, x0, y1, x1 = box
    dy, dx = round((y1 - y0) * context), round((x1 - x0) * context)
    return max(0, y0 - dy), max(0, x0 - dx), min(shape[0], y1 + dy), min(shape[1], x1 + dx)


def crop_square(image: np.ndarray, box: Box, size: int) -> np.ndarray:
    """Cut a box, scale its longer side to ``size`` and pad the shorter one with the mean colour.

    Args:
        image: (H, W, 3) uint8.
        box: non-empty box inside the image.
        size: side in pixels.

    Returns:
        (size, size, 3) uint8; the crop is centred and keeps its aspect ratio.
    """
    y0, x0, y1, x1 = box
    height, width = y1 - y0, x1 - x0
    scale = size / max(height, width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    canvas = np.full((size, size, 3), PAD_COLOUR, np.uint8)
    top, left = (size - new_height) // 2, (size - new_width) // 2
    resized = resize_image(np.ascontiguousarray(image[y0:y1, x0:x1]), new_height, new_width)
    canvas[top : top + new_height, left : left + new_width] = resized
    return canvas
