"""What IoU an image has at least, in so many cases of a hundred: split conformal prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["COVERAGE", "FEWEST", "LowerBound"]

COVERAGE = 0.9
FEWEST = 20  # images with ground truth: from 9 on in a half, its margin is a number


@dataclass(frozen=True)
class LowerBound:
    """A rising piecewise linear function from quality to an IoU that is reached with a given probability.

    Split conformal prediction, one-sided (Papadopoulos et al., "Inductive confidence machines for
    regression", ECML 2002; Lei et al., "Distribution-free predictive inference for regression", JASA 2018,
    section 2.2).
    An isotonic regression learns from half of the images, and the margin below it is the quantile of what
    the others fall short of it by. Whatever the score is worth, the bound holds for at least
    :data:`COVERAGE` of images that are drawn like those with ground truth, on average over the draw of
    those; a bad score makes it low, not wrong.

    Attributes:
        quality: (n,) ascending scores of the knots, in [0, 1].
        iou: (n,) bound at the knots, never falling; below 0 where nothing can be said.
        n_images: images of both halves.
    """

    quality: np.ndarray
    iou: np.ndarray
    n_images: int

    @classmethod
    def fit(cls, quality: np.ndarray, iou: np.ndarray, seed: int = 0) -> LowerBound | None:
        """Learn from (n,) scores and true IoUs, none NaN; ``None`` where they are too few to say anything.

        Args:
            quality: (n,) in [0, 1].
            iou: (n,) in [0, 1].
            seed: draws the halves.
        """
        from sklearn.isotonic import IsotonicRegression

        n = len(quality)
        if n < FEWEST:
            return None
        drawn = np.random.default_rng(seed).permutation(n)
        learnt, held = np.sort(drawn[: n // 2]), np.sort(drawn[n // 2 :])
        model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(quality[learnt], iou[learnt])
        short = np.sort(model.predict(quality[held]) - iou[held])
        rank = math.ceil((len(held) + 1) * COVERAGE)
        return cls(model.X_thresholds_, model.y_thresholds_ - short[rank - 1], n)

    def predict(self, quality: np.ndarray) -> np.ndarray:
        """Return the (n,) bounds of (n,) scores, in [0, 1]; beyond the outermost knots, theirs."""
        return np.clip(np.interp(quality, self.quality, self.iou), 0, 1)
