"""From a quality score to the IoU to expect, learnt where some ground truth is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from ..common.files import atomic, write_json
from ..common.tables import TableWriter
from ..common.untrusted import read_json, validate
from ..errors import UsageError
from ..images.plots import plot_filtering
from .cleaning import CALIBRATION
from .samples import NAMES, read_samples

if TYPE_CHECKING:
    from sklearn.isotonic import IsotonicRegression

__all__ = ["COVERAGE", "KEPT", "LowerBound", "QualityCalibration", "calibrate_run", "filtering_curve"]

FORMAT = 1
WHAT = "the calibration of a run"
FEWEST = 10  # images; fewer say nothing about a curve
KEPT = (1.0, 0.8, 0.6, 0.4, 0.2)
COVERAGE = 0.9
FEWEST_FOR_BOUNDS = 20  # images with ground truth: from 9 on in a half, its margin is a number


@dataclass(frozen=True)
class QualityCalibration:
    """A rising piecewise linear function from quality to expected IoU, by isotonic regression.

    After Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability estimates"
    (KDD 2002). It holds for the run that it was learnt on, and no other.
    """

    quality: np.ndarray  # (n,) ascending scores of the knots, in [0, 1]
    iou: np.ndarray  # (n,) expected IoU at the knots, in [0, 1], never falling
    n_images: int  # that it was learnt from

    @classmethod
    def fit(cls, quality: np.ndarray, iou: np.ndarray) -> QualityCalibration:
        """Learn from (n,) scores and the true IoU of the same images; NaN among the latter is left out.

        Raises:
            UsageError: fewer than 10 images have both.
        """
        quality, iou = np.asarray(quality, np.float64), np.asarray(iou, np.float64)
        known = ~(np.isnan(quality) | np.isnan(iou))
        if known.sum() < FEWEST:
            raise UsageError(
                f"calibration needs ground truth of at least {FEWEST} images, {known.sum()} have it"
            )
        model = _isotonic(quality[known], iou[known])
        return cls(model.X_thresholds_, model.y_thresholds_, int(known.sum()))

    def predict(self, quality: np.ndarray) -> np.ndarray:
        """Return the expected IoU of (n,) scores; beyond the outermost knots, theirs."""
        return np.interp(quality, self.quality, self.iou)

    def save(self, path: Path) -> None:
        """Write JSON."""
        write_json(path, asdict(_Document(FORMAT, self.n_images, self.quality.tolist(), self.iou.tolist())))

    @classmethod
    def load(cls, path: Path) -> QualityCalibration:
        """Read what :meth:`save` wrote.

        Raises:
            UsageError: it is not there, or not a calibration.
        """
        try:
            found = validate(read_json(path, what=WHAT), _Document, path=path, what=WHAT)
            if found.format != FORMAT:
                raise UsageError(f"format {found.format}, this version reads {FORMAT}")
            quality, iou = np.array(found.quality, np.float64), np.array(found.iou, np.float64)
            if not len(quality) or len(quality) != len(iou):
                raise UsageError("quality and iou are not as many numbers as each other, and at least one")
            for values in (quality, iou):
                if values.min() < 0 or values.max() > 1 or (np.diff(values) < 0).any():
                    raise UsageError("its numbers fall, or lie outside 0..1")
        except UsageError as error:
            raise UsageError(f"{path} holds no calibration: {error}") from error
        return cls(quality, iou, found.images)


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
    """

    quality: np.ndarray  # (n,) ascending scores of the knots, in [0, 1]
    iou: np.ndarray  # (n,) bound at the knots, never falling; below 0 where nothing can be said

    @classmethod
    def fit(cls, quality: np.ndarray, iou: np.ndarray, seed: int = 0) -> LowerBound | None:
        """Learn from (n,) scores and true IoUs in [0, 1], none NaN; ``None`` where there are too few of them.

        The seed draws the halves.
        """
        n = len(quality)
        if n < FEWEST_FOR_BOUNDS:
            return None
        drawn = np.random.default_rng(seed).permutation(n)
        learnt, held = np.sort(drawn[: n // 2]), np.sort(drawn[n // 2 :])
        model = _isotonic(quality[learnt], iou[learnt])
        short = np.sort(model.predict(quality[held]) - iou[held])
        rank = math.ceil((len(held) + 1) * COVERAGE)
        return cls(model.X_thresholds_, model.y_thresholds_ - short[rank - 1])

    def predict(self, quality: np.ndarray) -> np.ndarray:
        """Return the (n,) bounds of (n,) scores, in [0, 1]; beyond the outermost knots, theirs."""
        return np.clip(np.interp(quality, self.quality, self.iou), 0, 1)


@dataclass
class _Document:
    format: int
    images: int
    quality: list[float]
    iou: list[float]


def _isotonic(quality: np.ndarray, iou: np.ndarray) -> IsotonicRegression:
    from sklearn.isotonic import IsotonicRegression

    return IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(quality, iou)


def filtering_curve(quality: np.ndarray, iou: np.ndarray, kept: Sequence[float] = KEPT) -> list[float]:
    """Return the mean IoU of the best-scored images, for every share of the images, in (0, 1], that is kept.

    Of equal (n,) scores the first counts as better; of the (n,) true IoUs none is NaN. At least one image is
    kept.
    """
    order = np.argsort(-np.asarray(quality), kind="stable")
    ranked = np.asarray(iou)[order]
    return [float(ranked[: max(1, round(share * len(ranked)))].mean()) for share in kept]


def calibrate_run(run: Path, iou: Mapping[str, float]) -> str:
    """Learn the IoU to expect from the quality of a run's images, and write it beside them.

    Writes ``calibration.json``, ``expected_iou.csv`` (a row a labelled image: quality, expected IoU, the IoU
    that it has at least in nine cases of ten, where enough is known to say so, and the true IoU, where it is
    known) and ``filtering.png`` into the run's folder; the masks and the table stay as they are.

    ``iou`` leads from the path of a mask below ``masks/``, without extension, to its true IoU or NaN.
    Returns a line on what was learnt.

    Raises:
        UsageError: ``run`` is not the folder of a run, or too few of its images have ground truth.
    """
    table = run / "samples.csv"
    if not table.is_file():
        raise UsageError(f"{run} has no samples.csv: calibration needs the folder of a run of `label`")
    rows = [row for row in read_samples(table) if row.status == "labelled"]
    quality = np.array([row.quality for row in rows])
    true = np.array([iou.get(PurePosixPath(row.mask).with_suffix("").as_posix(), math.nan) for row in rows])
    calibration = QualityCalibration.fit(quality, true)
    expected = calibration.predict(quality)
    document, columns, picture = (run / name for name in CALIBRATION)
    calibration.save(document)
    seen = ~np.isnan(true)
    bound = LowerBound.fit(quality[seen], true[seen])
    least = np.minimum(bound.predict(quality), expected) if bound else np.full(len(rows), math.nan)
    with atomic(columns) as partial, partial.open("w", newline="", encoding="utf-8", errors=NAMES) as file:
        writer = TableWriter(file)  # every cell is text to a spreadsheet
        writer.write(["image", "quality", "expected_iou", f"iou_at_least_{COVERAGE:.0%}", "true_iou"])
        for row, *values in zip(rows, expected, least, true, strict=True):
            cells = ["" if math.isnan(value) else f"{value:.4f}" for value in values]
            writer.write([row.image, f"{row.quality:.4f}", *cells])
    with atomic(picture) as partial:
        plot_filtering(KEPT, {"quality": filtering_curve(quality[seen], true[seen])}, partial)
    said = (
        f"for {COVERAGE:.0%} of such images it is at least {least.min():.2f} to {least.max():.2f}"
        if bound
        else f"{FEWEST_FOR_BOUNDS} images would say what it is at least"
    )
    return (
        f"calibrated on {calibration.n_images} of {len(rows)} images: expected IoU {expected.min():.2f} to "
        f"{expected.max():.2f}; {said}; see {columns}"
    )
