"""Soft labels of one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["LabelScores"]


@dataclass
class LabelScores:
    """Soft labels of one image: only the classes that occur in it.

    Attributes:
        labels: (L,) int, ascending class ids; 0 is background or unlabelled.
        scores: (L, h, w) float32, >= 0, sums to 1 over L; at patch, working or native resolution.
        refined: the method has used the pixels already; nothing but up-sampling is left to do.
        agreement: (L,) float32 in [0, 1], how far other images bear out each segment's class; ``None`` where
            the method cannot tell.
    """

    labels: np.ndarray
    scores: np.ndarray
    refined: bool = False
    agreement: np.ndarray | None = None

    def argmax(self) -> np.ndarray:
        """Return the (h, w) label map of highest score; ties go to the lowest label."""
        return np.asarray(self.labels[self.scores.argmax(0)])
