"""From pairs of masks to an :class:`EvaluationResult`: count, match, score, resample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..common.skipped import Skipped
from ..common.text import short_list
from ..errors import UsageError
from .confusion import Contingency, count, union, validate
from .geometry import boundary_f, box_found
from .matching import Mapping
from .options import Choices, Classes, EvaluationOptions
from .per_image import ImageCounts
from .protocols import EvaluationProtocol
from .result import EvaluationResult
from .scoring import MappedImages, all_scores, class_rows, image_columns

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["MappedImages", "collect", "compare", "evaluate_pairs", "map_images", "score"]

Pair = tuple[str, np.ndarray, np.ndarray]


def compare(
    pred: np.ndarray, true: np.ndarray, options: EvaluationOptions, ignore: Sequence[int] | None = None
) -> tuple[Contingency, dict[str, float]]:
    """Compare a prediction with its ground truth, (H, W) ids: its table, and values that need the masks.

    ``ignore`` are ids of this image, in place of those of the options.

    Raises:
        UsageError: masks that cannot be compared.
    """
    ignore = options.ignore if ignore is None else ignore
    binary, boundary = options.spec.binary, options.boundary
    extras: dict[str, float] = {}
    if options.resize or binary or boundary is not None:
        pred, true = validate(pred, true, options.resize)
    if binary:
        scored = ~np.isin(true, list(ignore))
        # an ignored pixel is foreground of neither mask, and counted for neither below
        pred, true = (pred != 0) & scored, np.where(scored, true != 0, 2).astype(np.uint8)
        ignore = (2,)
        extras["box_found"] = box_found(pred, true == 1)
    if boundary is not None:
        extras["boundary_f"] = boundary_f(pred, true, boundary, ignore)
    return count(pred, true, ignore), extras


def collect(pairs: Iterable[Pair], options: EvaluationOptions) -> ImageCounts:
    """Count every pair of masks; one pass, one image in memory at a time.

    Args:
        pairs: (name, prediction (H, W), ground truth (H, W)); the iterable is used once.
        options: protocol, ``ignore``, ``resize`` and ``boundary`` of them matter here.

    Raises:
        UsageError: masks that cannot be compared; the message names the image.
    """
    images = ImageCounts()
    for name, pred, true in pairs:
        try:
            compared = compare(pred, true, options)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error
        images.append(name, *compared)
    return images


def evaluate_pairs(
    pairs: Iterable[Pair],
    classes: Classes | None = None,
    ignore: Iterable[int] = (),
    protocol: str | None = None,
    *,
    mapping: Mapping | None = None,
    **choices: Unpack[Choices],
) -> EvaluationResult:
    """Evaluate predictions against ground truth.

    Args:
        pairs: (name, prediction (H, W) of integers, ground truth (H, W) of integers).
        classes: names by id, or a list that names ids by position.
        ignore: ground-truth ids that take no part, in any order.
        protocol: default: that of ``mapping``, else ``iou-hungarian``.
        mapping: e.g. learnt on another split.
        choices: ``unlabelled``, ``background``, ``resize``, ``boundary``, ``replicates`` and ``seed`` of
            :class:`~fiftyone_plugin.evaluation.options.EvaluationOptions`.

    Raises:
        UsageError: masks that cannot be compared, no pairs, ids without a name, or options that contradict
            one another.

    Example:
        >>> sky, ground = np.array([[7, 7], [9, 9]]), np.array([[1, 1], [2, 2]])
        >>> result = evaluate_pairs([("a", sky, ground)], classes={1: "sky", 2: "ground"}, replicates=0)
        >>> result.scores["miou"], result.mapping.clusters
        (1.0, {7: 1, 9: 2})
    """
    options = EvaluationOptions.of(protocol, classes, ignore, mapping, **choices)
    return score(map_images(collect(pairs, options), options))


def require_images(images: ImageCounts, skipped: Sequence[Skipped]) -> None:
    """Refuse to go on without images.

    Raises:
        UsageError: all images were left out; says why.
    """
    if not len(images) and skipped:
        first = skipped[0]
        others = f", and {len(skipped) - 1} more" if len(skipped) > 1 else ""
        raise UsageError(f"nothing to score: {first}{others}")


def map_images(images: ImageCounts, options: EvaluationOptions) -> MappedImages:
    """Give every cluster its class.

    Raises:
        UsageError: see :func:`evaluate_pairs`.
    """
    spec, names, mapping = options.spec, options.classes, options.mapping
    unlabelled, ignored = options.unlabelled, list(options.ignore)
    if spec.binary:
        # ignored pixels are gone already, and what is left is 0 and 1
        unlabelled, names, ignored = None, {0: "background", 1: "foreground"}, []
    settings = {
        "ignore": list(options.ignore),
        "unlabelled": unlabelled,
        "background": options.background if spec.fill_background else None,
        "mapping": "given" if mapping else "learnt on these images",
    }
    table = _check_classes(images.total(), names, ignored)
    learnt = None if spec.per_image else mapping or spec.learn(table, unlabelled, options.background)
    # a mapping can name more classes than occur here
    targets = [*learnt.clusters.values(), learnt.unmatched] if learnt else []
    class_ids = union(table.true_ids, [c for c in targets if c is not None and c not in ignored])
    rows = _rows(images, spec, learnt, unlabelled, class_ids)
    matrices = images.sparse(rows, class_ids.size + 1, class_ids)
    if spec.drop_unmatched:
        matrices = matrices[:, : class_ids.size**2]
    labels = {int(c): (names or {}).get(int(c), str(c)) for c in class_ids}
    if learnt:
        labels |= {c: name for c, name in learnt.names.items() if c in labels and c not in (names or {})}
        learnt = replace(learnt, names=labels)
    return MappedImages(images, options, table, learnt, labels, matrices, settings)


def score(mapped: MappedImages) -> EvaluationResult:
    """Score mapped images, with intervals from bootstrap samples of the images if these are asked for."""
    options, table, unlabelled = mapped.options, mapped.table, mapped.settings["unlabelled"]
    columns = image_columns(mapped)
    scores, confidence = all_scores(mapped, columns)
    return EvaluationResult(
        protocol=options.protocol,
        scores=scores,
        confidence=confidence,
        per_class=class_rows(mapped.pooled, mapped.names, mapped.mapping),
        mapping=mapped.mapping,
        n_images=len(mapped.images),
        n_pixels=table.pixels,
        n_clusters=table.without(unlabelled).pred_ids.size,
        n_classes=table.true_ids.size,
        coverage=table.coverage(unlabelled),
        kept=float(mapped.pooled.sum() / table.pixels),
        settings={**mapped.settings, "replicates": options.replicates, "seed": options.seed},
        images={"name": list(mapped.images.names)} | {key: c.tolist() for key, c in columns.items()},
        table=table,
    )


def _check_classes(table: Contingency, names: dict[int, str] | None, ignored: list[int]) -> Contingency:
    if not table.pixels:
        raise UsageError(
            "nothing to score: there are no images, or every pixel of the ground truth is ignored"
        )
    if names is None:
        return table
    unnamed = [int(i) for i in table.true_ids if int(i) not in names]
    if unnamed:
        raise UsageError(
            f"the ground truth holds ids {short_list(unnamed)} that the classes do not name: "
            "ignore them, or name them"
        )
    return table.expand(true_ids=[i for i in names if i not in ignored])


def _rows(
    images: ImageCounts,
    spec: EvaluationProtocol,
    mapping: Mapping | None,
    unlabelled: int | None,
    class_ids: np.ndarray,
) -> np.ndarray:
    """Return the predicted class, as a row of the class matrix, of every cell of ``images``."""
    _, pred, _, _ = images.cells
    if mapping:
        pred_ids, index = np.unique(pred, return_inverse=True)
        return mapping.rows(pred_ids, class_ids)[index]

    return np.concatenate(
        [
            spec.learn(table, unlabelled).rows(
                np.repeat(table.pred_ids, (table.counts > 0).sum(axis=1)), class_ids
            )
            for table in images
        ]
    )
