"""Confusion of predicted ids with ground-truth ids, counted in pixels, one image at a time.

The two sides need not have the same number of ids, nor ids that mean the same: rows are predicted ids
(clusters or classes), columns are ground-truth classes. As in torchmetrics, :func:`validate`, :func:`count`
(the update) and :meth:`ConfusionMatrix.compute` are small steps, and the class only accumulates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError

__all__ = ["ConfusionMatrix", "Contingency", "count", "tabulate", "union", "validate"]

# bins of the dense count (8 bytes each); sparse ids such as 65535 take the slower way over `np.unique`
DENSE_BINS = 1 << 20
# cells of a table, 8 bytes each: 8,192 classes squared; photographs taken for masks have a colour a pixel
MOST_BINS = 1 << 26


@dataclass(frozen=True)
class Contingency:
    """How many pixels have predicted id ``pred_ids[k]`` and ground-truth class ``true_ids[c]``.

    Attributes:
        pred_ids: (K,) int64, ascending, >= 0.
        true_ids: (C,) int64, ascending, >= 0, none of them ignored.
        counts: (K, C) int64, pixels.
        left_out: (C,) int64, pixels of each class in rows taken out by :meth:`without`; ``None``: no row was.
    """

    pred_ids: np.ndarray
    true_ids: np.ndarray
    counts: np.ndarray
    left_out: np.ndarray | None = None

    @classmethod
    def empty(cls) -> Contingency:
        """Return the table of no pixels at all."""
        none = np.zeros(0, np.int64)
        return cls(none, none, np.zeros((0, 0), np.int64))

    @property
    def pixels(self) -> int:
        """Pixels counted, i.e. not ignored."""
        return int(self.counts.sum())

    @property
    def class_pixels(self) -> np.ndarray:
        """Pixels of each class, also those in rows that were taken out: (C,) int64."""
        inside: np.ndarray = self.counts.sum(axis=0)
        return inside if self.left_out is None else inside + self.left_out

    def expand(self, pred_ids: Iterable[int] = (), true_ids: Iterable[int] = ()) -> Contingency:
        """Return the same counts with empty rows and columns added for ids not seen."""
        rows, columns = union(self.pred_ids, pred_ids), union(self.true_ids, true_ids)
        counts = np.zeros((rows.size, columns.size), np.int64)
        counts[np.ix_(np.searchsorted(rows, self.pred_ids), np.searchsorted(columns, self.true_ids))] = (
            self.counts
        )
        left_out = None
        if self.left_out is not None:
            left_out = np.zeros(columns.size, np.int64)
            left_out[np.searchsorted(columns, self.true_ids)] = self.left_out
        return Contingency(rows, columns, counts, left_out)

    def without(self, pred_id: int | None) -> Contingency:
        """Return the table without the row ``pred_id`` (``None``: unchanged)."""
        keep = self.pred_ids != (-1 if pred_id is None else pred_id)
        left_out = self.class_pixels - self.counts[keep].sum(axis=0)
        return Contingency(self.pred_ids[keep], self.true_ids, self.counts[keep], left_out)

    def coverage(self, unlabelled: int | None) -> float:
        """Return the share of pixels whose prediction is not ``unlabelled``; nan without pixels."""
        return self.without(unlabelled).pixels / self.pixels if self.pixels else float("nan")


def union(*ids: Iterable[int]) -> np.ndarray:
    """Return all ids, ascending, each once, as int64."""
    parts = [np.asarray(list(part) if not isinstance(part, np.ndarray) else part, np.int64) for part in ids]
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)


def _check_ids(mask: np.ndarray, what: str) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise UsageError(
            f"{what} has shape {mask.shape}: a mask of class ids is (height, width); "
            "convert colours to ids, or one-hot channels by argmax, first"
        )
    if mask.dtype == bool:
        return mask.view(np.uint8)
    if mask.dtype.kind not in "iu":
        raise UsageError(f"{what} holds {mask.dtype} values: class ids are integers; cast the mask first")
    if mask.dtype.kind == "i" and mask.size and mask.min() < 0:
        raise UsageError(
            f"{what} holds the negative id {mask.min()}: ids start at 0; "
            "give such pixels an id of their own, e.g. 255, and ignore it"
        )
    return mask


def resize_nearest(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return ``mask`` (H, W) sampled at the pixel centres of ``size`` = (height, width)."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * (old / new)).astype(np.intp), old - 1)
        for new, old in zip(size, mask.shape, strict=True)
    )
    return np.asarray(mask[rows[:, None], columns[None, :]])


def validate(pred: np.ndarray, true: np.ndarray, resize: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Check one prediction against its ground truth.

    Args:
        pred: (H, W) predicted ids, any integer type or bool, >= 0.
        true: (H, W) ground-truth ids, any integer type or bool, >= 0.
        resize: bring a prediction of another size to the size of ``true`` by nearest neighbour.

    Returns:
        both masks as unsigned or signed integers of equal shape.

    Raises:
        UsageError: not two-dimensional, not integers, negative ids, or sizes that differ.
    """
    pred, true = _check_ids(pred, "the prediction"), _check_ids(true, "the ground truth")
    if pred.shape != true.shape:
        if not resize or not pred.size or not true.size:
            raise UsageError(
                f"the prediction is {pred.shape[0]}x{pred.shape[1]} (height x width), the ground truth "
                f"{true.shape[0]}x{true.shape[1]}: predict at that size, or ask for resizing"
            )
        pred = resize_nearest(pred, true.shape)
    return pred, true


def _table(pred: np.ndarray, true: np.ndarray) -> Contingency:
    """Count every pair of ids of two checked masks, ignored ones too."""
    if not pred.size:
        return Contingency.empty()
    n_pred, n_true = int(pred.max()) + 1, int(true.max()) + 1
    if n_pred * n_true <= DENSE_BINS:
        # int32 holds every bin number and is cheaper to fill than int64
        bins = pred.astype(np.int32)
        bins *= n_true
        bins += true.astype(np.int32, copy=False)
        counts = np.bincount(bins.ravel(), minlength=n_pred * n_true).reshape(n_pred, n_true)
        return Contingency(np.arange(n_pred), np.arange(n_true), counts)
    return tabulate(pred.ravel(), true.ravel())


def tabulate(pred: np.ndarray, true: np.ndarray, pixels: np.ndarray | None = None) -> Contingency:
    """Return the table of pairs of ids, each (n,) integers >= 0, that stand for so many pixels, or for one.

    Raises:
        UsageError: there are too many different ids.
    """
    pred_ids, rows = np.unique(pred, return_inverse=True)
    true_ids, columns = np.unique(true, return_inverse=True)
    shape = pred_ids.size, true_ids.size
    if true_ids.size * max(shape) > MOST_BINS:
        raise UsageError(
            f"{shape[0]:,} different predicted ids and {shape[1]:,} true ones are too many for classes: "
            "are these photographs, or instance ids?"
        )
    counts = np.bincount(rows * true_ids.size + columns, pixels, true_ids.size * pred_ids.size)
    return Contingency(
        pred_ids.astype(np.int64), true_ids.astype(np.int64), counts.astype(np.int64).reshape(shape)
    )


def count(
    pred: np.ndarray, true: np.ndarray, ignore: Iterable[int] = (), resize: bool = False
) -> Contingency:
    """Count the pixels of one image by predicted and true id.

    Args:
        pred: (H, W) predicted ids, see :func:`validate`.
        true: (H, W) ground-truth ids.
        ignore: ground-truth ids whose pixels take no part at all.
        resize: see :func:`validate`.

    Returns:
        the table of the ids that occur among the pixels not ignored.

    Raises:
        UsageError: masks that cannot be compared.

    Example:
        >>> table = count(np.array([[1, 1], [2, 0]]), np.array([[5, 5], [5, 255]]), ignore=[255])
        >>> table.pred_ids.tolist(), table.true_ids.tolist(), table.counts.tolist()
        ([1, 2], [5], [[2], [1]])
    """
    table = _table(*validate(pred, true, resize))
    counted = ~np.isin(table.true_ids, list(ignore)) & table.counts.any(axis=0)
    seen = table.counts[:, counted].any(axis=1)
    return Contingency(
        table.pred_ids[seen], table.true_ids[counted], table.counts[np.ix_(seen, counted)].astype(np.int64)
    )


class ConfusionMatrix:
    """Accumulates :class:`Contingency` tables; the numbers of clusters and of classes need not be known.

    Args:
        ignore: ground-truth ids whose pixels take no part.
        resize: bring predictions of another size to the size of the ground truth by nearest neighbour.

    Example:
        >>> matrix = ConfusionMatrix(ignore=[255])
        >>> _ = matrix.update(np.array([[1, 1]]), np.array([[3, 4]]))
        >>> matrix.compute().counts.tolist()
        [[1, 1]]
    """

    def __init__(self, ignore: Iterable[int] = (), resize: bool = False) -> None:
        self.ignore = tuple(sorted({int(i) for i in ignore}))
        self.resize = resize
        self._table = Contingency.empty()

    def update(self, pred: np.ndarray, true: np.ndarray) -> Contingency:
        """Add one image and return its own table.

        Raises:
            UsageError: masks that cannot be compared.
        """
        table = count(pred, true, self.ignore, self.resize)
        self.add(table)
        return table

    def add(self, table: Contingency) -> None:
        """Add counts made elsewhere, e.g. by :func:`count` in another thread."""
        mine = self._table.expand(table.pred_ids, table.true_ids)
        mine.counts[:] += table.expand(mine.pred_ids, mine.true_ids).counts
        self._table = mine

    def merge(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """Add the counts of another accumulator, e.g. of another worker's shard, and return self.

        Raises:
            UsageError: the two do not ignore the same ids.
        """
        if other.ignore != self.ignore:
            raise UsageError(
                f"cannot merge counts that ignore {other.ignore} into counts that ignore {self.ignore}"
            )
        self.add(other._table)
        return self

    def compute(self) -> Contingency:
        """Return the counts so far, as a table of its own."""
        return Contingency(self._table.pred_ids, self._table.true_ids, self._table.counts.copy())
