"""Scores of counted and mapped images: pooled, per image, and with intervals over images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import metrics
from .confusion import Contingency, union
from .matching import Mapping
from .options import EvaluationOptions
from .per_image import ImageCounts
from .protocols import EvaluationProtocol

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = [
    "MappedImages",
    "all_scores",
    "class_rows",
    "class_scores",
    "cluster_scores",
    "image_columns",
    "pooled_replicates",
    "resample",
    "weighted_means",
]

# numbers of 8 bytes held at once: per-image class matrices made dense, bootstrap samples
CHUNK = 1 << 22
PooledScores = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class MappedImages:
    """Counted images after matching.

    Attributes:
        images: the counts.
        options: how they were matched.
        table: pixels by predicted id and class, pooled; has a column for every declared class.
        mapping: clusters to classes; ``None`` where every image was matched on its own.
        names: name of every class that is true or may be predicted, by ascending id.
        matrices: (images, R * C) pixels by predicted and true class, flattened; R is C + 1, the last row
            being what has no class, or C where the protocol drops that.
        settings: what else was decided: ``ignore``, ``unlabelled``, ``background``, ``mapping``.
    """

    images: ImageCounts
    options: EvaluationOptions
    table: Contingency
    mapping: Mapping | None
    names: dict[int, str]
    matrices: csr_matrix
    settings: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int]:
        """(R, C) of every image's class matrix."""
        return self.matrices.shape[1] // len(self.names), len(self.names)

    @property
    def pooled(self) -> np.ndarray:
        """(R, C) pixels by predicted and true class, over all images."""
        return np.asarray(self.matrices.sum(axis=0)).reshape(self.shape)


def class_rows(matrix: np.ndarray, labels: dict[int, str], mapping: Mapping | None) -> list[dict[str, Any]]:
    """Return one entry a class for :attr:`EvaluationResult.per_class`."""
    columns = {
        "iou": metrics.iou_per_class(matrix),
        "f1": metrics.f1_per_class(matrix),
        "accuracy": metrics.accuracy_per_class(matrix),
        "precision": metrics.precision_per_class(matrix),
        "pixels": matrix.sum(axis=0),
    }
    clusters = mapping.clusters if mapping else {}
    return [
        {
            **{"id": id_, "name": name},
            **{key: values[i].item() for key, values in columns.items()},
            "clusters": sorted(k for k, c in clusters.items() if c == id_),
        }
        for i, (id_, name) in enumerate(labels.items())
    ]


def resample(n: int, replicates: int, seed: int, width: int = 1) -> Iterator[np.ndarray]:
    """Yield how often each of ``n`` images is drawn in each replicate, in (b, n) chunks.

    The draws depend on ``seed`` alone, not on the chunking. Chunks are so small that a caller may hold
    ``width`` numbers for each of their rows.
    """
    rng = np.random.default_rng(seed)
    size = max(1, min(replicates, CHUNK // max(n, width)))
    for start in range(0, replicates, size):
        draws = range(min(size, replicates - start))
        yield np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in draws])


def pooled_replicates(
    matrices: csr_matrix, shape: tuple[int, int], score: PooledScores, replicates: int, seed: int
) -> dict[str, np.ndarray]:
    """Return score name -> (replicates,) values of the pooled counts of every replicate.

    ``matrices`` are counts, (images, R * C) with (R, C) for a shape; ``score`` makes (b,) values by name of
    (b, R, C) counts.
    """
    transposed = matrices.T.tocsr()
    chunks = [
        score((transposed @ weights.T).T.reshape(-1, *shape))
        for weights in resample(matrices.shape[0], replicates, seed, matrices.shape[1])
    ]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def weighted_means(values: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Return the (replicates,) mean of per-image ``values`` (n,) in every replicate, nan skipped."""
    known, filled = ~np.isnan(values), np.nan_to_num(values)
    draws = resample(values.size, replicates, seed)
    return np.concatenate([metrics.divide(w @ filled, w @ known) for w in draws])


def image_columns(mapped: MappedImages) -> dict[str, np.ndarray]:
    """Return per-image values by name, each (n,) float."""
    matrices = mapped.matrices
    step = max(1, CHUNK // matrices.shape[1])
    parts = (matrices[start : start + step] for start in range(0, matrices.shape[0], step))
    chunks = [_image_values(part.toarray().reshape(-1, *mapped.shape), mapped.options.spec) for part in parts]
    columns = {key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]}
    extras = {key: np.array(values) for key, values in mapped.images.extras.items()}
    return {**columns, "coverage": _coverage(mapped), **extras}


def _coverage(mapped: MappedImages) -> np.ndarray:
    images, pred, _, pixels = mapped.images.cells
    n, unlabelled = len(mapped.images), mapped.settings["unlabelled"]
    labelled = pixels * (pred != (-1 if unlabelled is None else unlabelled))
    return metrics.divide(np.bincount(images, labelled, n), np.bincount(images, pixels, n))


def all_scores(
    mapped: MappedImages, columns: dict[str, np.ndarray]
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Return every score of the protocol, and its interval if there are replicates.

    The columns are those of :func:`image_columns`.
    """
    spec, replicates, seed = mapped.options.spec, mapped.options.replicates, mapped.options.seed
    pools: list[tuple[csr_matrix, tuple[int, int], PooledScores]] = []
    if spec.binary:
        pools.append((mapped.matrices, mapped.shape, _foreground_pooled))
    elif not spec.per_image:
        pools.append((mapped.matrices, mapped.shape, class_scores))
        pools.append((*_before_mapping(mapped.images), cluster_scores))
    scores: dict[str, float] = {}
    samples: dict[str, np.ndarray] = {}
    for matrices, shape, score in pools:
        whole = np.asarray(matrices.sum(axis=0)).reshape(shape)
        scores |= {key: float(value) for key, value in score(whole).items()}
        if replicates:
            samples |= pooled_replicates(matrices, shape, score, replicates, seed)
    for key, values in columns.items():
        name = _mean_name(key, spec)
        scores[name] = float(metrics.mean_over_classes(values))
        if replicates:
            samples[name] = weighted_means(values, replicates, seed)
    return scores, {key: _interval(values) for key, values in samples.items()}


def _before_mapping(images: ImageCounts) -> tuple[csr_matrix, tuple[int, int]]:
    """Return the counts by predicted id, (images, K * C) with shape (K, C)."""
    _, pred, true, _ = images.cells
    pred_ids, rows = np.unique(pred, return_inverse=True)
    true_ids = union(true)
    return images.sparse(rows, pred_ids.size, true_ids), (pred_ids.size, true_ids.size)


def _interval(values: np.ndarray) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    low, high = np.quantile(known, [0.025, 0.975]).tolist() if known.size else (np.nan, np.nan)
    return low, high


def class_scores(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of class matrices (..., R, C) by name, each (...)."""
    return {
        "miou": metrics.mean_over_classes(metrics.iou_per_class(matrix)),
        "fwiou": metrics.frequency_weighted_iou(matrix),
        "pixel_accuracy": metrics.pixel_accuracy(matrix),
        "mean_class_accuracy": metrics.mean_over_classes(metrics.accuracy_per_class(matrix)),
        "f1": metrics.mean_over_classes(metrics.f1_per_class(matrix)),
    }


def cluster_scores(table: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of contingency tables (..., K, C) by name, each (...)."""
    return {"ari": metrics.adjusted_rand_index(table), "nmi": metrics.normalized_mutual_info(table)}


def _foreground_pooled(matrix: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "iou_pooled": metrics.iou_per_class(matrix)[..., 1],
        "pixel_accuracy": metrics.pixel_accuracy(matrix),
    }


def _image_values(matrix: np.ndarray, spec: EvaluationProtocol) -> dict[str, np.ndarray]:
    """Return the per-image values of (n, R, C) class matrices."""
    iou = metrics.iou_per_class(matrix)
    if spec.binary:
        hits, predicted, true = matrix[:, 1, 1], matrix[:, 1].sum(-1), matrix[:, :, 1].sum(-1)
        return {
            "iou": iou[:, 1],
            "accuracy": metrics.pixel_accuracy(matrix),
            "f_beta": metrics.f_beta(hits, predicted, true),
            "mae": metrics.mean_absolute_error(matrix),
        }
    values = {"iou": metrics.mean_over_true_classes(iou, matrix), "accuracy": metrics.pixel_accuracy(matrix)}
    if spec.per_image:
        present = matrix.sum(-2) > 0
        rest = present & (np.cumsum(present, axis=-1) > 1)
        values["iou_without_first"] = metrics.mean_over_classes(np.where(rest, iou, np.nan))
    return values


def _mean_name(column: str, spec: EvaluationProtocol) -> str:
    """Return what the mean over images of a per-image column is called among the scores."""
    names = {"accuracy": "accuracy_per_image", "coverage": "coverage_per_image", "box_found": "corloc"}
    if not spec.binary:
        names["iou"] = "miou_per_image"
    if spec.per_image:
        names |= {"iou": "miou", "accuracy": "pixel_accuracy", "iou_without_first": "miou_without_first"}
    return names.get(column, column)
