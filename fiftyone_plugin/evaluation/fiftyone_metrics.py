"""The scores that FiftyOne shows as metrics of an evaluation; operators of the same names wrap them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._version import PLUGIN_NAME
from .result import EvaluationResult
from .scoring import class_scores, cluster_scores

if TYPE_CHECKING:
    from fiftyone.utils.eval.segmentation import SegmentationResults

__all__ = ["METRICS", "SegmentationMetric", "custom_metrics", "score_of"]


@dataclass(frozen=True)
class SegmentationMetric:
    """One score as a FiftyOne evaluation metric.

    Attributes:
        name: the operator's name, and the key in ``results.metrics()``.
        label: what the Model Evaluation panel calls it.
        description: one line for people.
        score: its name among the scores of an evaluation.
        lower_is_better: how to colour a comparison.
    """

    name: str
    label: str
    description: str
    score: str
    lower_is_better: bool = False

    @property
    def uri(self) -> str:
        """The operator's URI."""
        return f"{PLUGIN_NAME}/{self.name}"


METRICS = (
    SegmentationMetric("miou", "mIoU", "Intersection over union, mean over classes", "miou"),
    SegmentationMetric("fwiou", "Frequency-weighted IoU", "IoU weighted by true pixels", "fwiou"),
    SegmentationMetric(
        "mean_class_accuracy", "Mean class accuracy", "Recall, mean over classes", "mean_class_accuracy"
    ),
    SegmentationMetric("macro_f1", "Mean F1", "F1 (Dice), mean over classes", "f1"),
    SegmentationMetric("ari", "Adjusted Rand index", "Agreement of the partitions, no names needed", "ari"),
    SegmentationMetric("nmi", "NMI", "Normalised mutual information, no names needed", "nmi"),
    SegmentationMetric("boundary_f", "Boundary F", "F1 of boundaries within a tolerance", "boundary_f"),
    SegmentationMetric("coverage", "Coverage", "Share of pixels that carry a prediction", "coverage"),
    SegmentationMetric("foreground_iou", "Foreground IoU", "IoU of the foreground, mean over images", "iou"),
    SegmentationMetric("f_beta", "F-beta", "F-beta of the foreground, beta^2 = 0.3", "f_beta"),
    SegmentationMetric("mae", "MAE", "Mean absolute error of the foreground", "mae", lower_is_better=True),
    SegmentationMetric("corloc", "CorLoc", "Share of images whose object is found", "corloc"),
)


def score_of(metric: SegmentationMetric, results: SegmentationResults) -> float | None:
    """Return a metric of FiftyOne segmentation results; ``None`` if they do not hold it.

    Results of this package answer with their own scores. For those of FiftyOne's ``evaluate_segmentations``
    the scores of the confusion matrix are computed, without its background class.
    """
    own = getattr(results, "evaluation", None)
    value = _scores(own)[metric.score] if own else _from_matrix(results).get(metric.score, math.nan)
    return None if math.isnan(value) else float(value)


def custom_metrics(result: EvaluationResult) -> dict[str, dict[str, object]]:
    """Return FiftyOne's ``custom_metrics`` of an evaluation: URI -> key, value, label, lower_is_better."""
    scores = _scores(result)
    return {
        metric.uri: {
            "key": metric.name,
            "value": scores[metric.score],
            "label": metric.label,
            "lower_is_better": metric.lower_is_better,
        }
        for metric in METRICS
        if not math.isnan(scores[metric.score])
    }


def _scores(result: EvaluationResult) -> dict[str, float]:
    known = {**result.scores, "coverage": result.coverage}
    return {metric.score: known.get(metric.score, math.nan) for metric in METRICS}


def _from_matrix(results: SegmentationResults) -> dict[str, float]:
    # FiftyOne's rows are the ground truth
    background = np.array([name == results.missing for name in results.classes])
    # predictions of the background stay, as errors
    rows = np.argsort(background, kind="stable")
    matrix = np.asarray(results.pixel_confusion_matrix).T[np.ix_(rows, np.flatnonzero(~background))]
    return {name: float(value) for name, value in (class_scores(matrix) | cluster_scores(matrix)).items()}
