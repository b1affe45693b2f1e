"""Colours of masks that are pictures: CVAT's and VOC's classes, COCO's panoptic segments."""

from __future__ import annotations

import os
import stat

import numpy as np

from ..errors import ImageReadError
from ..images import MAX_PIXELS

__all__ = ["read_colours"]

FORMATS = ("PNG", "BMP", "TIFF")


def read_colours(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return the colours of a mask file, (H, W, 3) uint8 RGB; of an indexed one, those of its palette.

    Args:
        path: the file; it must be a regular one.
        max_pixels: largest width x height accepted, checked before anything is decoded.

    Raises:
        ImageReadError: not readable, too large, or it holds numbers that are no colours.
    """
    from PIL import Image

    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageReadError(path, "not a regular file")
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise ImageReadError(path, f"too large: {image.width}x{image.height} pixels")
            if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
                raise ImageReadError(path, f"not a picture of 8-bit colours, but of kind {image.mode}")
            return np.asarray(image.convert("RGBA" if image.mode == "P" else "RGB").convert("RGB"))
    except ImageReadError:
        raise
    except Exception as error:  # decoders raise anything on damaged files
        raise ImageReadError(path, f"cannot be read ({error})") from error
