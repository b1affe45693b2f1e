"""From a quality score to the IoU to expect, learnt where some ground truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common.files import write_json
from ..common.untrusted import read_json, validate
from ..errors import UsageError

__all__ = ["KEPT", "QualityCalibration", "filtering_curve"]

FORMAT = 1
WHAT = "the calibration of a run"
FEWEST = 10  # images; fewer say nothing about a curve
KEPT = (1.0, 0.8, 0.6, 0.4, 0.2)


@dataclass(frozen=True)
class QualityCalibration:
    """A rising piecewise linear function from quality to expected IoU, by isotonic regression.

    After Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability estimates"
    (KDD 2002). It holds for the run that it was learnt on, and no other.

    Attributes:
        quality: (n,) ascending scores of the knots, in [0, 1].
        iou: (n,) expected IoU at the knots, in [0, 1], never falling.
        n_images: images that it was learnt from.
    """

    quality: np.ndarray
    iou: np.ndarray
    n_images: int

    @classmethod
    def fit(cls, quality: np.ndarray, iou: np.ndarray) -> QualityCalibration:
        """Learn from (n,) scores and the true IoU of the same images; NaN among the latter is left out.

        Raises:
            UsageError: fewer than 10 images have both.
        """
        from sklearn.isotonic import IsotonicRegression

        quality, iou = np.asarray(quality, np.float64), np.asarray(iou, np.float64)
        known = ~(np.isnan(quality) | np.isnan(iou))
        if known.sum() < FEWEST:
            raise UsageError(
                f"calibration needs ground truth of at least {FEWEST} images, {known.sum()} have it"
            )
        model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(quality[known], iou[known])
        return cls(model.X_thresholds_, model.y_thresholds_, int(known.sum()))

    def predict(self, quality: np.ndarray) -> np.ndarray:
        """Return the expected IoU of (n,) scores; beyond the outermost knots, theirs."""
        return np.interp(quality, self.quality, self.iou)

    def save(self, path: Path) -> None:
        """Write JSON."""
        document = {
            "format": FORMAT,
            "images": self.n_images,
            "quality": self.quality.tolist(),
            "iou": self.iou.tolist(),
        }
        write_json(path, document)

    @classmethod
    def load(cls, path: Path) -> QualityCalibration:
        """Read what :meth:`save` wrote.

        Raises:
            UsageError: it is not there, or not a calibration.
        """
        try:
            return cls._checked(validate(read_json(path, what=WHAT), _Document, path=path, what=WHAT))
        except UsageError as error:
            raise UsageError(f"{path} holds no calibration: {error}") from error

    @classmethod
    def _checked(cls, found: _Document) -> QualityCalibration:
        if found.format != FORMAT:
            raise UsageError(f"format {found.format}, this version reads {FORMAT}")
        quality, iou = np.array(found.quality, np.float64), np.array(found.iou, np.float64)
        if not len(quality) or len(quality) != len(iou):
            raise UsageError("quality and iou are not as many numbers as each other, and at least one")
        for values in (quality, iou):
            if values.min() < 0 or values.max() > 1 or (np.diff(values) < 0).any():
                raise UsageError("its numbers fall, or lie outside 0..1")
        return cls(quality, iou, found.images)


@dataclass
class _Document:
    format: int
    images: int
    quality: list[float]
    iou: list[float]


def filtering_curve(quality: np.ndarray, iou: np.ndarray, kept: Sequence[float] = KEPT) -> list[float]:
    """Return the mean IoU of the best-scored images, for every share of the images that is kept.

    Args:
        quality: (n,) scores; of equal ones the first counts as better.
        iou: (n,) true IoU, none NaN.
        kept: shares in (0, 1]; at least one image is kept.
    """
    order = np.argsort(-np.asarray(quality), kind="stable")
    ranked = np.asarray(iou)[order]
    return [float(ranked[: max(1, round(share * len(ranked)))].mean()) for share in kept]
