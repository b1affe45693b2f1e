"""Evaluation metrics that FiftyOne lacks for segmentations, as operators: mIoU and its kin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import fiftyone.core.collections as foc
import fiftyone.operators as foo

from fiftyone_plugin.evaluation.fiftyone_metrics import METRICS, SegmentationMetric, score_of

if TYPE_CHECKING:
    from fiftyone.utils.eval.segmentation import SegmentationResults

__all__ = ["METRIC_CLASSES", "ScoreMetric"]


class ScoreMetric(foo.EvaluationMetric):
    """One score of a segmentation evaluation, of this plugin or FiftyOne's own."""

    metric: SegmentationMetric

    @property
    def config(self) -> foo.EvaluationMetricConfig:
        """Name, label and direction."""
        config = foo.EvaluationMetricConfig(
            name=self.metric.name,
            label=self.metric.label,
            description=self.metric.description,
            eval_types=["segmentation"],
            aggregate_key=self.metric.name,
            lower_is_better=self.metric.lower_is_better,
            unlisted=True,
        )
        # FiftyOne 1.22 asks the keyword arguments, where it never puts the value
        config.kwargs["lower_is_better"] = self.metric.lower_is_better
        return config

    def compute(
        self, samples: foc.SampleCollection, results: SegmentationResults, **kwargs: object
    ) -> float | None:
        """Return the score, ``None`` where these results do not hold it."""
        return score_of(self.metric, results)


METRIC_CLASSES: tuple[type[ScoreMetric], ...] = tuple(
    type(f"{metric.name.title().replace('_', '')}Metric", (ScoreMetric,), {"metric": metric})
    for metric in METRICS
)
