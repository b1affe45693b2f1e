"""Scores of counted and mapped images: pooled, per image, and with intervals over images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import metrics
from .confusion import union
from .matching import Mapping
from .options import EvaluationOptions
from .per_image import ImageCounts
from .protocols import EvaluationProtocol

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = [
    "Scorer",
    "class_rows",
    "class_scores",
    "cluster_scores",
    "pooled_replicates",
    "resample",
    "weighted_means",
]

# numbers of 8 bytes held at once: per-image class matrices made dense, bootstrap samples
CHUNK = 1 << 22
PooledScores = Callable[[np.ndarray], dict[str, np.ndarray]]


def class_rows(matrix: np.ndarray, labels: dict[int, str], mapping: Mapping | None) -> list[dict[str, Any]]:
    """Return one entry a class for :attr:`EvaluationResult.per_class`."""
    columns = zip(
        labels.items(),
        metrics.iou_per_class(matrix).tolist(),
        metrics.f1_per_class(matrix).tolist(),
        metrics.accuracy_per_class(matrix).tolist(),
        metrics.precision_per_class(matrix).tolist(),
        matrix.sum(axis=0).tolist(),
        strict=True,
    )
    clusters = mapping.clusters if mapping else {}
    return [
        {
            "id": id_,
            "name": name,
            "iou": iou,
            "f1": f1,
            "accuracy": accuracy,
            "precision": precision,
            "pixels": pixels,
            "clusters": sorted(k for k, c in clusters.items() if c == id_),
        }
        for (id_, name), iou, f1, accuracy, precision, pixels in columns
    ]


def resample(n: int, replicates: int, seed: int, width: int = 1) -> Iterator[np.ndarray]:
    """Yield how often each of ``n`` images is drawn in each replicate, in (b, n) chunks.

    The draws depend on ``seed`` alone, not on the chunking.

    Args:
        n: images.
        replicates: rows of all chunks together.
        seed: seeds the draws.
        width: numbers the caller will hold for each row, so that chunks stay small.
    """
    rng = np.random.default_rng(seed)
    size = max(1, min(replicates, CHUNK // max(n, width)))
    for start in range(0, replicates, size):
        draws = range(min(size, replicates - start))
        yield np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in draws])


def pooled_replicates(
    matrices: csr_matrix,
    shape: tuple[int, int],
    score: PooledScores,
    replicates: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Score the pooled counts of every replicate.

    Args:
        matrices: (images, R * C) counts.
        shape: (R, C).
        score: (b, R, C) counts -> score name -> (b,) values.
        replicates: how many.
        seed: see :func:`resample`.

    Returns:
        score name -> (replicates,) values.
    """
    transposed = matrices.T.tocsr()
    chunks = [
        score((transposed @ weights.T).T.reshape(-1, *shape))
        for weights in resample(matrices.shape[0], replicates, seed, matrices.shape[1])
    ]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def weighted_means(values: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Return the (replicates,) mean of per-image ``values`` (n,) in every replicate, nan skipped."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    with np.errstate(invalid="ignore"):
        return np.concatenate([(w @ filled) / (w @ known) for w in resample(values.size, replicates, seed)])


class Scorer:
    """Scores counted images: pooled, per image, and with intervals."""

    def __init__(
        self, images: ImageCounts, matrices: csr_matrix, n_classes: int, unlabelled: int | None
    ) -> None:
        self.images = images
        self.matrices = matrices
        self.shape = (matrices.shape[1] // n_classes, n_classes)
        self.pooled = np.asarray(matrices.sum(axis=0)).reshape(self.shape)
        self.unlabelled = unlabelled
        self._columns: dict[str, np.ndarray] | None = None

    def columns(self, spec: EvaluationProtocol) -> dict[str, np.ndarray]:
        """Return per-image values by name, each (n,) float."""
        if self._columns is None:
            step = max(1, CHUNK // self.matrices.shape[1])
            dense = (
                self.matrices[start : start + step].toarray().reshape(-1, *self.shape)
                for start in range(0, self.matrices.shape[0], step)
            )
            chunks = [_image_values(matrix, spec) for matrix in dense]
            self._columns = {key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]}
            self._columns["coverage"] = self._coverage()
            self._columns |= {key: np.array(values) for key, values in self.images.extras.items()}
        return self._columns

    def _coverage(self) -> np.ndarray:
        images, pred, _, pixels = self.images.cells
        n = len(self.images)
        every = np.bincount(images, pixels, n)
        labelled = np.bincount(
            images, pixels * (pred != (-1 if self.unlabelled is None else self.unlabelled)), n
        )
        shares = np.full(n, np.nan)
        np.divide(labelled, every, out=shares, where=every > 0)
        return shares

    def scores(self, options: EvaluationOptions) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
        """Return every score of the protocol, and its interval if there are replicates."""
        spec, replicates, seed = options.spec, options.replicates, options.seed
        pools: list[tuple[csr_matrix, tuple[int, int], PooledScores]] = []
        if spec.binary:
            pools.append((self.matrices, self.shape, _foreground_pooled))
        elif not spec.per_image:
            pools.append((self.matrices, self.shape, class_scores))
            pools.append((*self._raw(), cluster_scores))
        scores: dict[str, float] = {}
        samples: dict[str, np.ndarray] = {}
        for matrices, shape, score in pools:
            whole = np.asarray(matrices.sum(axis=0)).reshape(shape)
            scores |= {key: float(value) for key, value in score(whole).items()}
            if replicates:
                samples |= pooled_replicates(matrices, shape, score, replicates, seed)
        for key, values in self.columns(spec).items():
            name = _mean_name(key, spec)
            scores[name] = float(metrics.mean_over_classes(values))
            if replicates:
                samples[name] = weighted_means(values, replicates, seed)
        return scores, {key: _interval(values) for key, values in samples.items()}

    def _raw(self) -> tuple[csr_matrix, tuple[int, int]]:
        """Return the counts before mapping, (images, K * C) with shape (K, C)."""
        _, pred, true, _ = self.images.cells
        pred_ids, rows = np.unique(pred, return_inverse=True)
        true_ids = union(true)
        return self.images.sparse(rows, pred_ids.size, true_ids), (pred_ids.size, true_ids.size)


def _interval(values: np.ndarray) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    low, high = np.quantile(known, [0.025, 0.975]) if known.size else (np.nan, np.nan)
    return float(low), float(high)


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
    names = {
        "iou": "miou_per_image",
        "accuracy": "accuracy_per_image",
        "coverage": "coverage_per_image",
        "box_found": "corloc",
    }
    if spec.binary:
        names |= {"iou": "iou"}
    if spec.per_image:
        names |= {"iou": "miou", "accuracy": "pixel_accuracy", "iou_without_first": "miou_without_first"}
    return names.get(column, column)
