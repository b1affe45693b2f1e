"""Small copies of large photographs, decoded at a fraction of their size where the format allows it."""

from __future__ import annotations

import numpy as np

from .reading import PathLike, image_size, image_to_rgb, open_image, orientation_turn

__all__ = ["read_reduced"]


def read_reduced(path: PathLike, height: int, width: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Read an image in no fewer rows and columns than asked for, where it has as many.

    Of a JPEG, halves, quarters and eighths cost a fraction of the whole (Pillow's draft mode: fewer terms of
    the cosine transform); other formats are read as they are.

    Returns:
        (h, w, 3) uint8 RGB, upright, and the native (H, W).

    Raises:
        ImageReadError: as :func:`~.reading.read_image`.
    """
    native = image_size(path)
    with open_image(path) as image:
        lies = native != (image.height, image.width) and orientation_turn(image) is not None
        image.draft(None, (height, width) if lies else (width, height))
        return image_to_rgb(image), native
