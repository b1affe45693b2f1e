"""Colours of masks that are pictures: CVAT's and VOC's classes, COCO's panoptic segments."""

from __future__ import annotations

import numpy as np

from ..images.reading import MAX_PIXELS
from .files import NotAMaskError, PathLike, open_mask, pillow_rawmode

__all__ = ["read_colours"]


def read_colours(path: PathLike, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return the colours of a mask file, (H, W, 3) uint8 RGB; of an indexed one, those of its palette.

    Args:
        path: the file; it must be a regular one.
        max_pixels: largest width x height accepted, checked before anything is decoded.

    Raises:
        ImageReadError: as :func:`read_mask`, or it holds numbers that are no colours.
    """
    with open_mask(path, max_pixels) as image:
        if ";16" in pillow_rawmode(image) or image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX"):
            raise NotAMaskError(path, f"not a picture of 8-bit colours, but of kind {image.mode}")
        image.load()
        return np.asarray(image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB"))
