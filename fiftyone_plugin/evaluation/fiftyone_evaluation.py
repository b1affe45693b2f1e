"""Evaluations as FiftyOne keeps them: listed, loaded, deleted, shown in the Model Evaluation panel."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

import fiftyone.core.fields as fof
import fiftyone.core.labels as fol
import fiftyone.core.utils as fou
import fiftyone.core.validation as fov
import fiftyone.utils.eval.segmentation as fous
import numpy as np

from ..common.progress import NullProgress, Progress, Stage
from ..common.skipped import Skipped
from ..errors import UsageError
from .confusion import Contingency
from .fiftyone_masks import field_rules, map_mask_pairs
from .fiftyone_metrics import custom_metrics
from .fiftyone_results import LabelIds, PseudoMaskResults, options_of
from .matching import Mapping
from .options import Choices, Classes, EvaluationOptions, parse_classes
from .per_image import ImageCounts
from .report import LISTED_IDS, left_out_lines, short_ids
from .summary import compare, map_images, require_images, score

if TYPE_CHECKING:
    import fiftyone.core.collections as foc
    from typing_extensions import Unpack

__all__ = ["PseudoMaskEvaluation", "PseudoMaskEvaluationConfig", "PseudoMaskResults", "evaluate"]

logger = logging.getLogger(__name__)

#: what a config holds besides fields, and the defaults
OPTIONS: dict[str, object] = {
    option.name: option.default for option in fields(EvaluationOptions) if option.name != "classes"
} | {"ignore": None}
SAMPLE_SCORES = ("iou", "accuracy", "coverage")


def evaluate(
    samples: foc.SampleCollection,
    pred_field: str,
    gt_field: str = "ground_truth",
    eval_key: str | None = None,
    protocol: str | None = None,
    *,
    classes: Classes | None = None,
    ignore: Iterable[int] | None = None,
    mapping: Mapping | None = None,
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> PseudoMaskResults:
    """Evaluate a Segmentation field against ground truth, as a FiftyOne evaluation.

    With an ``eval_key``, the evaluation is saved with the dataset, and every sample gets the fields
    ``<eval_key>_iou`` (mean over the classes that the image's ground truth holds), ``<eval_key>_accuracy``
    and ``<eval_key>_coverage``. Nothing is written before all masks are compared.

    Args:
        samples: a FiftyOne dataset or view of images.
        pred_field: Segmentation field of clusters or classes.
        gt_field: Segmentation field of ground truth.
        eval_key: name under which the evaluation is kept; an evaluation of the same fields is replaced.
        protocol: default: that of ``mapping``, else ``iou-hungarian``.
        classes: names by id; default: the mask targets of ``gt_field``, else the dataset's default mask
            targets.
        ignore: ground-truth ids that take no part; default: where there are mask targets, the ids they do not
            name (as FiftyOne's own evaluation does), else none.
        mapping: e.g. ``results.mapping`` of another split.
        progress: where the comparison reports to.
        choices: ``unlabelled``, ``background``, ``resize``, ``boundary``, ``replicates`` and ``seed`` of
            :class:`~fiftyone_plugin.evaluation.options.EvaluationOptions`.

    Returns:
        results with everything FiftyOne's segmentation results offer, ``evaluation`` (all scores),
        ``mapping`` and ``skipped``: images whose masks are damaged, missing or do not fit are left out and
        listed there, and so are pixels without a name in ``evaluation.unnamed``.

    Raises:
        UsageError: not one image can be compared, or options that contradict one another.
        ValueError: the fields do not exist or hold no segmentations, or the key is invalid.
    """
    fov.validate_non_grouped_collection(samples)
    fov.validate_collection_label_fields(samples, (pred_field, gt_field), fol.Segmentation, same_type=True)
    options = EvaluationOptions.of(protocol, None, ignore, mapping, **choices)
    decided = {name: getattr(options, name) for name in OPTIONS}
    decided["ignore"] = None if ignore is None else list(options.ignore)
    decided["mapping"] = mapping.to_dict() if mapping else None
    method = PseudoMaskEvaluationConfig(pred_field, gt_field, **decided).build()
    if eval_key is not None:
        method.validate_run(samples, eval_key)
    with (progress or NullProgress()).stage("comparing masks", len(samples)) as stage:
        results: PseudoMaskResults = method.compare(samples, eval_key, classes, stage)
    if eval_key is not None:
        method.register_run(samples, eval_key)
        method.register_samples(samples, eval_key)
        method.write_scores(samples, eval_key, results)
        method.save_run_results(samples, eval_key, results)
        method.add_fields_to_sidebar_group(samples, eval_key)
    return results


class PseudoMaskEvaluationConfig(fous.SegmentationEvaluationConfig):
    """What decides an evaluation, as FiftyOne stores it.

    Args:
        pred_field: Segmentation field of clusters or classes.
        gt_field: Segmentation field of ground truth.
        kwargs: attributes of :class:`~fiftyone_plugin.evaluation.options.EvaluationOptions` but ``classes``,
            with ``mapping`` as a dict and ``ignore`` as a list, or ``None`` for ids without a name; and what
            FiftyOne's own config takes.
    """

    def __init__(self, pred_field: str, gt_field: str, **kwargs: Any) -> None:
        own = {name: kwargs.pop(name, default) for name, default in OPTIONS.items()}
        super().__init__(pred_field, gt_field, **kwargs)
        self.__dict__.update(own)

    @property
    def method(self) -> str:
        """Name of the method, as the panel shows it."""
        return "pseudomask"


class PseudoMaskEvaluation(fous.SegmentationEvaluation):
    """The evaluation method: fields, comparison, clean-up."""

    def get_fields(
        self, samples: foc.SampleCollection, eval_key: str, include_custom_metrics: bool = True
    ) -> list[str]:
        """Return the fields that an evaluation writes."""
        own = [f"{eval_key}_{name}" for name in SAMPLE_SCORES]
        return own + (self.get_custom_metric_fields(samples, eval_key) if include_custom_metrics else [])

    def register_samples(self, samples: foc.SampleCollection, eval_key: str | None) -> None:
        """Declare the fields."""
        if eval_key is not None:
            for field in self.get_fields(samples, eval_key, include_custom_metrics=False):
                samples._dataset.add_sample_field(field, fof.FloatField)

    def cleanup(self, samples: foc.SampleCollection, eval_key: str) -> None:
        """Delete the fields."""
        own = self.get_fields(samples, eval_key, include_custom_metrics=False)
        samples._dataset.delete_sample_fields(own, error_level=1)
        self.cleanup_custom_metrics(samples, eval_key)
        samples._delete_empty_sidebar_group(eval_key)

    def evaluate_samples(
        self,
        samples: foc.SampleCollection,
        eval_key: str | None = None,
        mask_targets: Classes | None = None,
        progress: bool | Callable[[fou.ProgressBar], None] | None = None,
    ) -> PseudoMaskResults:
        """Evaluate on behalf of FiftyOne's ``evaluate_segmentations(method=PseudoMaskEvaluationConfig)``."""
        with fou.ProgressBar(total=len(samples), progress=progress) as bar:
            results = self.compare(samples, eval_key, mask_targets, bar)
        if eval_key is not None:
            self.write_scores(samples, eval_key, results)
        return results

    def compare(
        self, samples: foc.SampleCollection, eval_key: str | None, classes: Classes | None, stage: Stage
    ) -> PseudoMaskResults:
        """Compare all masks and score them; writes nothing.

        Raises:
            UsageError: see :func:`evaluate`.
        """
        config = self.config
        names = _names(samples, config.gt_field, classes)
        options = options_of(config, names)
        known = names if config.ignore is None and not options.spec.binary else None
        images, labels = ImageCounts(), LabelIds([], [], [])
        skipped: list[Skipped] = []
        left_out: list[str] = []
        unnamed: Counter[int] = Counter()
        unnamed_images = 0
        pairs = map_mask_pairs(
            samples,
            config.pred_field,
            config.gt_field,
            partial(_compare, options=options, known=known),
            rules=(field_rules(samples, config.pred_field), field_rules(samples, config.gt_field, classes)),
        )
        for sample_id, pred_id, true_id, compared in pairs:
            stage.update()
            if compared is None or isinstance(compared, Skipped):
                left_out.append(sample_id)
                skipped += [compared] if compared else []
                continue
            table, extras, without_name = compared
            unnamed.update(without_name)
            unnamed_images += bool(without_name)
            images.append(sample_id, table, extras)
            labels.pred.append(pred_id)
            labels.true.append(true_id)
        labels.samples.extend(images.names)
        require_images(images, skipped)
        if unnamed and not images.pixels:
            raise UsageError(
                f"nothing to score: no id of the ground truth has a name ({short_ids(unnamed)}); "
                "name them in the mask targets, or give the ids to ignore"
            )
        mapped = map_images(images, options)
        evaluation = score(mapped)
        if config.ignore is None and names:
            evaluation.settings["ignore"] = "ids without a name"
        evaluation.settings["left_out"] = left_out
        evaluation.settings["skipped"] = [[entry.key, entry.reason] for entry in skipped]
        if unnamed:
            evaluation.settings["unnamed"] = {
                "pixels": unnamed.total(),
                "images": unnamed_images,
                "n_ids": len(unnamed),
                "ids": {str(id_): pixels for id_, pixels in unnamed.most_common(LISTED_IDS)},
            }
        for line in left_out_lines(evaluation):
            logger.warning("%s", line)
        return PseudoMaskResults(
            samples, config, eval_key, mapped, evaluation, labels, custom_metrics(evaluation), backend=self
        )

    def write_scores(self, samples: foc.SampleCollection, eval_key: str, results: PseudoMaskResults) -> None:
        """Write the scores of every sample."""
        columns = results.evaluation.images
        for name in SAMPLE_SCORES:
            scores = zip(columns["name"], columns[name], strict=True)
            values = {id_: None if math.isnan(value) else value for id_, value in scores}
            samples.set_values(f"{eval_key}_{name}", values, key_field="id")


def _names(samples: foc.SampleCollection, gt_field: str, classes: Classes | None) -> dict[int, str] | None:
    """Return the names of the classes: as given, or the mask targets of the field or the dataset."""
    dataset = samples._root_dataset
    targets = classes or dataset.mask_targets.get(gt_field) or dataset.default_mask_targets or None
    if isinstance(targets, dict) and fof.is_rgb_mask_targets(targets):
        targets = {fof.hex_to_int(key): name for key, name in targets.items()}
    return parse_classes(targets)


def _compare(
    pred: np.ndarray, true: np.ndarray, options: EvaluationOptions, known: dict[int, str] | None
) -> tuple[Contingency, dict[str, float], dict[int, int]]:
    """Compare two masks; pixels of the truth whose id is not ``known`` take no part, but are counted."""
    unnamed = _without_name(true, known) if known else {}
    return *compare(pred, true, options, list(unnamed) if known else None), unnamed


def _without_name(true: np.ndarray, names: dict[int, str]) -> dict[int, int]:
    """Return the ids of an (H, W) mask that have no name, and their pixels."""
    if true.dtype == np.uint8:
        counts = np.bincount(true.ravel(), minlength=256)
        ids = np.flatnonzero(counts)
        pixels = counts[ids]
    else:
        ids, pixels = np.unique(true, return_counts=True)
    return {id_: n for id_, n in zip(ids.tolist(), pixels.tolist(), strict=True) if id_ not in names}
