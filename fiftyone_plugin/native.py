"""From soft scores at any resolution to the mask of the native image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .errors import ImageReadError
from .methods.base import LabelScores
from .parallel import one_thread
from .refinement import Refiner, winners

__all__ = ["at_most", "labels_or_error", "native_labels"]


def at_most(values: np.ndarray, side: int) -> np.ndarray:
    """Thin (h, w) values out so that neither side exceeds ``side``."""
    step = max(1, -(-max(values.shape) // side))
    rows, columns = (np.arange(min(step // 2, n - 1), n, step) for n in values.shape)
    return values[np.ix_(rows, columns)]


def labels_or_error(
    scores: LabelScores, size: tuple[int, int], read_image: Callable[[], np.ndarray], refiner: Refiner
) -> np.ndarray | ImageReadError:
    """Call :func:`native_labels`; the error is returned, so that it does not end the whole chunk."""
    try:
        return native_labels(scores, size, read_image, refiner)
    except ImageReadError as error:
        return error


def native_labels(
    scores: LabelScores, size: tuple[int, int], read_image: Callable[[], np.ndarray], refiner: Refiner
) -> np.ndarray:
    """Refine and up-sample soft scores to the class ids of the native image, in bounded memory.

    Args:
        scores: of the image.
        size: (H, W).
        read_image: returns the native (H, W, 3) uint8 image; called only where a refiner needs it.
        refiner: refines scores that the method has not refined.

    Returns:
        (H, W) class ids, in the smallest of uint8, uint16 and int64 that holds those of the scores.

    Raises:
        ImageReadError: the image cannot be read any more.
    """
    with one_thread():
        values = scores.scores if scores.refined else refiner(scores.scores, read_image())
        return _narrow(scores.labels)[winners(values, *size)]


def _narrow(ids: np.ndarray) -> np.ndarray:
    """Return ids in as few bytes as hold them."""
    kinds = (kind for kind in (np.uint8, np.uint16) if ids.min() >= 0 and ids.max() <= np.iinfo(kind).max)
    return ids.astype(next(kinds, np.int64))
