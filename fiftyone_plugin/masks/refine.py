"""From soft scores at patch level and an image to soft scores that follow the pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..common.parallel import one_thread
from ..errors import ImageReadError, unknown
from .argmax import winners
from .crf import DenseCRF, crf_available
from .scores import LabelScores
from .upsample import fit_within, resize_scores

__all__ = [
    "REFINERS",
    "DenseCRF",
    "Refiner",
    "Upsample",
    "at_most",
    "create_refiner",
    "crf_available",
    "fit_within",
    "labels_or_error",
    "native_labels",
    "resize_scores",
    "winners",
]

Refiner = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(scores (L, h, w), image (H, W, 3) uint8) -> scores (L, h', w') float32 that sum to 1 over L."""


class Upsample:
    """No refinement: bilinear scores at a working resolution.

    Args:
        max_side: longer side of the working resolution in pixels.
    """

    def __init__(self, max_side: int = 240) -> None:
        self.max_side = max_side

    def __call__(self, scores: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Return the scores at the working resolution, see :data:`Refiner`."""
        height, width = fit_within(image.shape[0], image.shape[1], self.max_side)
        return resize_scores(scores, height, width)


REFINERS: dict[str, Callable[[], Refiner]] = {"crf": DenseCRF, "none": Upsample}


def create_refiner(name: str) -> Refiner:
    """Build a refiner by name.

    Raises:
        UsageError: unknown name.
    """
    if name not in REFINERS:
        raise unknown("refinement", name, REFINERS)
    return REFINERS[name]()


def at_most(values: np.ndarray, side: int) -> np.ndarray:
    """Thin (h, w) values out so that neither side exceeds ``side``."""
    step = max(1, -(-max(values.shape) // side))
    rows, columns = (np.arange(min(step // 2, n - 1), n, step) for n in values.shape)
    return np.asarray(values[np.ix_(rows, columns)])


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
        return np.asarray(_narrow(scores.labels)[winners(values, *size)])


def _narrow(ids: np.ndarray) -> np.ndarray:
    """Return ids in as few bytes as hold them."""
    kinds = (kind for kind in (np.uint8, np.uint16) if ids.min() >= 0 and ids.max() <= np.iinfo(kind).max)
    return ids.astype(next(kinds, np.int64))
