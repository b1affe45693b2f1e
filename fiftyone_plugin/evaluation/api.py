"""The public function :func:`evaluate`: two folders of masks, or two fields of a FiftyOne dataset."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from ..common.progress import NullProgress, Progress, annotate
from ..common.remote import ahead, folder_of, url_of
from ..common.skipped import Skipped
from ..engines.base import Lost, Worker
from ..engines.registry import engine_for_files
from ..errors import ImageReadError, UsageError
from ..masks.files import read_mask
from ..masks.rules import MaskRules
from .confusion import Contingency
from .folders import FilePair, pair_masks, read_classes
from .matching import Mapping
from .options import Choices, EvaluationOptions
from .per_image import ImageCounts
from .result import EvaluationResult
from .summary import compare, map_images, require_images, score

if TYPE_CHECKING:
    import fiftyone.core.collections as foc
    from typing_extensions import Unpack

    from .fiftyone_results import PseudoMaskResults

__all__ = ["evaluate", "evaluate_folders"]

CHUNK = 16  # pairs of masks that a worker compares in one go


Compared = tuple[str, Contingency, dict[str, float]]  # name, counts, scores of outlines


@dataclass(frozen=True)
class _Comparison:
    """To compare pairs of masks, see :class:`~..engines.base.Work`.

    Attributes:
        options: of the evaluation.
        rules: what the pixels of the ground truth mean.
        example: a pair that every machine must see.
    """

    options: EvaluationOptions
    rules: MaskRules
    example: FilePair

    def open(self) -> Worker[FilePair, Compared | Skipped]:
        for path in self.example[1:]:
            if url_of(path) is None and not Path(path).is_file():
                raise UsageError(
                    f"does not see {path}: both folders have to be on a disk that all machines share, under "
                    "the same path"
                )
        in_store = any(url_of(path) is not None for path in self.example[1:])
        return partial(ahead, self._compare) if in_store else partial(map, self._compare)

    def _compare(self, pair: FilePair) -> Compared | Skipped:
        name, pred, true = pair
        try:
            return name, *compare(read_mask(pred), read_mask(true, self.rules), self.options)
        except (ImageReadError, UsageError) as error:
            return Skipped(name, str(error))


@overload
def evaluate(
    pred: str | os.PathLike[str],
    true: str | os.PathLike[str],
    *,
    classes: str | os.PathLike[str] | dict[int, str] | list[str] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> EvaluationResult: ...


@overload
def evaluate(
    samples: foc.SampleCollection,
    pred_field: str,
    gt_field: str = "ground_truth",
    eval_key: str | None = None,
    protocol: str | None = None,
    **options: Any,
) -> PseudoMaskResults: ...


def evaluate(*sources: Any, **options: Any) -> EvaluationResult | PseudoMaskResults:
    """Evaluate masks against ground truth.

    Two folders: ``evaluate(pred, true)``, see :func:`evaluate_folders`. A FiftyOne dataset or view and the
    names of two fields: ``evaluate(samples, pred_field, gt_field="ground_truth", eval_key=None)``, see
    :func:`fiftyone_plugin.evaluation.fiftyone_evaluation.evaluate`. Both take ``protocol``, ``classes``,
    ``ignore``, ``unlabelled``, ``background``, ``mapping``, ``resize``, ``boundary``, ``replicates``,
    ``seed`` and ``progress``.

    Raises:
        UsageError: not one image can be compared, or options that contradict one another.

    Example:
        >>> evaluate("labels", "gt/masks", ignore=[255]).scores["miou"]  # doctest: +SKIP
        0.412
        >>> evaluate(dataset, "pseudo_mask", "ground_truth", eval_key="eval")  # doctest: +SKIP
    """
    first = sources[0] if sources else options.get("pred")
    if isinstance(first, (str, os.PathLike)) or url_of(first) is not None:
        return evaluate_folders(*sources, **options)
    if first is None and "samples" not in options:
        raise UsageError("name what is evaluated: two folders, or a FiftyOne dataset and its fields")
    from .fiftyone_evaluation import evaluate as evaluate_dataset

    return evaluate_dataset(*sources, **options)


def evaluate_folders(
    pred: str | os.PathLike[str],
    true: str | os.PathLike[str],
    *,
    classes: str | os.PathLike[str] | dict[int, str] | list[str] | None = None,
    ignore: Iterable[int] = (),
    protocol: str | None = None,
    mapping: Mapping | None = None,
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    cpus_per_worker: int | None = None,
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> EvaluationResult:
    """Evaluate a folder of masks against a folder of ground truth; they pair by their stems.

    Args:
        pred: folder of predicted masks, or the output of ``label``; here or in a store.
        true: folder of ground-truth masks.
        classes: names by id, a list of names by position, or a file that holds either.
        ignore: ground-truth ids that take no part, e.g. 255.
        protocol: a name of :data:`~fiftyone_plugin.evaluation.protocols.PROTOCOLS`; default: that of
            ``mapping``, else ``iou-hungarian``.
        mapping: use this mapping of clusters to classes instead of matching here.
        engine: ``local``, or ``ray`` for the machines of a cluster, which share the disk of the folders.
        address: of the cluster, ``HOST:PORT`` or ``auto``; ``None`` for one that ends with the evaluation.
        workers: worker processes of the engine, ``None`` for as many as there is room for.
        cpus_per_worker: cores of each, ``None`` for one.
        progress: where the comparison reports to.
        choices: further keywords of :func:`fiftyone_plugin.evaluation.evaluate_pairs`.

    Returns:
        The result; what was left out is in its ``skipped`` and in ``settings["left_out"]``.

    Raises:
        UsageError: a folder is missing or empty, no masks pair, or options that contradict one another.
    """
    if isinstance(classes, (str, os.PathLike)):
        classes = read_classes(url_of(classes) or Path(classes))
    chosen = EvaluationOptions.of(protocol, classes, ignore, mapping, **choices)
    found = pair_masks(folder_of(pred), folder_of(true))
    skipped: list[Skipped] = []
    images = ImageCounts()
    comparison = _Comparison(chosen, MaskRules(ids=frozenset(chosen.classes or ())), found.pairs[0])
    with (
        engine_for_files(engine, address, workers, cpus_per_worker) as place,
        (progress or NullProgress()).stage("comparing masks", len(found.pairs)) as stage,
    ):
        for compared in place.gather(comparison, found.pairs, CHUNK):
            annotate(stage, place.describe())
            stage.update()
            if isinstance(compared, Lost):
                compared = Skipped(compared.item[0], compared.reason)
            if isinstance(compared, Skipped):
                skipped.append(compared)
            else:
                images.append(*compared)
    require_images(images, skipped)
    result = score(map_images(images, chosen))
    result.settings["skipped"] = [[entry.key, entry.reason] for entry in skipped]
    result.settings["left_out"] = {
        "only_pred": found.only_pred,
        "only_true": found.only_true,
        "unreadable": [entry.reason for entry in skipped],
    }
    return result
