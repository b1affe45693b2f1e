"""From soft scores at patch level and an image to soft scores that follow the pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import UsageError
from .crf import DenseCRF, crf_available
from .upsample import fit_within, resize_scores
from .winners import winners

__all__ = [
    "REFINERS",
    "DenseCRF",
    "Refiner",
    "Upsample",
    "create_refiner",
    "crf_available",
    "fit_within",
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
        raise UsageError(f"unknown refinement {name!r}; known: {', '.join(REFINERS)}")
    return REFINERS[name]()
