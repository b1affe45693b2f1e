"""Frames of videos as images, read with OpenCV."""

from __future__ import annotations

import math
from collections.abc import Iterator
from os import PathLike

import numpy as np

from ..errors import ImageReadError

__all__ = ["sampled_frames"]

USUAL_RATE = 25.0  # frames a second, where a file does not say


def sampled_frames(path: str | PathLike[str], rate: float) -> Iterator[tuple[int, np.ndarray]]:
    """Yield about ``rate`` frames a second of a video, evenly: the first, and those at every step from there.

    Where it has no more than that in a second of its time, all frames.

    Yields:
        The number of the frame, from 1, and its (H, W, 3) uint8 BGR pixels, upright.

    Raises:
        ImageReadError: it cannot be read as a video, or has no frame.
    """
    import cv2

    video = cv2.VideoCapture(str(path))
    try:
        own = video.get(cv2.CAP_PROP_FPS)
        own = own if math.isfinite(own) and own > 0 else USUAL_RATE
        number = taken = 0
        while video.grab():
            if number >= taken * own / rate:
                read, pixels = video.retrieve()
                if read:
                    yield number + 1, pixels
                taken += 1
            number += 1
    finally:
        video.release()
    if not number:
        raise ImageReadError(str(path), "no frame of it can be read as a video")
