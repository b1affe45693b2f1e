"""Pascal VOC's SegmentationClass: indexed PNG with the VOC palette.

Source: the VOC 2012 development kit, section "Ground truth annotation" and ``VOClabelcolormap``: index 0 is
background, 255 is void (object borders and regions of no known class).
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..errors import UsageError

__all__ = ["MAX_CLASSES", "VOID", "voc_image", "voc_palette"]

VOID = 255
MAX_CLASSES = 254


def voc_palette() -> np.ndarray:
    """Return the (256, 3) uint8 colours: the bits of an index, dealt out to red, green and blue."""
    index = np.arange(256)
    channels = [sum(((index >> (3 * bit + c)) & 1) << (7 - bit) for bit in range(8)) for c in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8)


def voc_image(labels: np.ndarray, *, void: np.ndarray | None = None, border: int = 0) -> Image.Image:
    """Return the indexed image of a mask.

    Args:
        labels: (H, W) category ids within 0..254.
        void: (H, W) bool, pixels that become 255.
        border: pixels on both sides of every boundary between ids that become 255 (VOC has 5 in all; 2 or 3
            here comes close); 0 for none.

    Raises:
        UsageError: an id above 254.
    """
    if labels.max(initial=0) > MAX_CLASSES:
        raise UsageError(f"VOC masks hold at most {MAX_CLASSES} classes, not {int(labels.max())}")
    indices = labels.astype(np.uint8)
    if border > 0:
        indices[_near_boundary(labels, border)] = VOID
    if void is not None:
        indices[void] = VOID
    image = Image.fromarray(indices)  # "L"; the palette makes it "P"
    image.putpalette(voc_palette().tobytes())
    return image


def _near_boundary(labels: np.ndarray, width: int) -> np.ndarray:
    """Return the pixels of which a neighbour within ``width`` (a square) has another id."""
    from scipy.ndimage import maximum_filter, minimum_filter

    side = 2 * width + 1
    return maximum_filter(labels, side, mode="nearest") != minimum_filter(labels, side, mode="nearest")
