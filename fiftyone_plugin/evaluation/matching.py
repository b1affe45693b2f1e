"""From clusters to classes: mappings, and the ways of the literature to learn one from ground truth.

Every matching reads the ground truth, so every score after a matching is an upper bound on what the clusters
are worth to somebody who has to name them; one-to-one matchings are the strictest of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..common.files import write_json
from ..common.untrusted import read_json
from ..errors import UsageError
from .confusion import Contingency, union
from .metrics import divide

__all__ = ["Mapping", "hungarian_counts", "hungarian_iou", "identity", "iou_matrix", "majority"]

FORMAT = 1
MAX_RESULT_BYTES = 1 << 30  # a whole evaluation serves as well, and may have a row an image


@dataclass(frozen=True)
class Mapping:
    """Which class every cluster stands for.

    Attributes:
        clusters: cluster id -> class id.
        protocol: name of the protocol it was learnt with.
        unmatched: class of every id not in ``clusters``; ``None``: no class, always an error.
        names: class id -> name, as far as known.
    """

    clusters: dict[int, int]
    protocol: str
    unmatched: int | None = None
    names: dict[int, str] = field(default_factory=dict)

    def target(self, cluster: int) -> int | None:
        """Return the class id of a cluster, ``None`` if it has none."""
        return self.clusters.get(int(cluster), self.unmatched)

    def apply_to_mask(self, mask: np.ndarray, fill: int = 0) -> np.ndarray:
        """Return ``mask`` (H, W) with class ids for cluster ids, and ``fill`` for clusters without a class.

        The type is the smallest unsigned one that holds all class ids.
        """
        ids, index = np.unique(mask, return_inverse=True)
        targets = [self.target(i) for i in ids]
        lut = np.array([fill if target is None else target for target in targets], np.int64)
        largest = max([fill, self.unmatched or 0, *self.clusters.values()])
        return lut.astype(np.min_scalar_type(largest))[index].reshape(np.shape(mask))

    def apply_to_table(self, table: Contingency, class_ids: np.ndarray) -> np.ndarray:
        """Return pixels by mapped class and true class.

        ``class_ids`` are (C,) ascending class ids, a superset of ``table.true_ids``.

        Returns:
            (C + 1, C) int64; row i < C holds the pixels predicted as ``class_ids[i]``, the last row those
            predicted as none of them (unlabelled, unmatched, or a class not listed).
        """
        matrix = np.zeros((class_ids.size + 1, class_ids.size), np.int64)
        columns = np.searchsorted(class_ids, table.true_ids)
        for row, counts in zip(self.rows(table.pred_ids, class_ids), table.counts, strict=True):
            matrix[row, columns] += counts
        return matrix

    def rows(self, pred_ids: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
        """Return the row of :meth:`apply_to_table` that each predicted id falls into, (K,) int."""
        position = {int(c): i for i, c in enumerate(class_ids)}
        rows = [position.get(-1 if (t := self.target(k)) is None else t, class_ids.size) for k in pred_ids]
        return np.array(rows, np.intp)

    def to_dict(self) -> dict[str, object]:
        """Return the mapping as JSON-serialisable values."""
        return {
            "format": FORMAT,
            "protocol": self.protocol,
            "clusters": {str(k): int(v) for k, v in sorted(self.clusters.items())},
            "unmatched": self.unmatched,
            "names": {str(k): v for k, v in sorted(self.names.items())},
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Mapping:
        """Restore what :meth:`to_dict` returned.

        Raises:
            UsageError: not a mapping, or of a format this version does not read.
        """
        try:
            if document["format"] != FORMAT:
                raise UsageError(f"the mapping has format {document['format']}, this version reads {FORMAT}")
            return cls(
                {_id(k): _id(v) for k, v in document["clusters"].items()},
                str(document["protocol"]),
                None if document["unmatched"] is None else _id(document["unmatched"]),
                {_id(k): str(v) for k, v in document["names"].items()},
            )
        except UsageError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UsageError(f"this is no mapping of clusters to classes ({error!r})") from error

    def save(self, path: str | Path) -> None:
        """Write the mapping as JSON, whole or not at all.

        Raises:
            PseudoMaskError: it cannot be written.
        """
        write_json(Path(path), self.to_dict(), sort_keys=False)

    @classmethod
    def load(cls, path: str | Path) -> Mapping:
        """Read a mapping written by :meth:`save`, or the one inside a saved evaluation.

        Raises:
            UsageError: the file is missing or holds no mapping.
        """
        document = read_json(path, what="a mapping of clusters to classes", max_bytes=MAX_RESULT_BYTES)
        inner = document.get("mapping") if isinstance(document, dict) else None
        try:
            return cls.from_dict(inner or document)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error


def _id(value: int | str) -> int:
    number = int(value)
    if not 0 <= number < 1 << 32:
        raise ValueError(f"{number} is no id of a mask")
    return number


def iou_matrix(counts: np.ndarray, class_pixels: np.ndarray | None = None) -> np.ndarray:
    """Return (K, C) float: IoU of every cluster with every class; 0 where both are empty.

    ``counts`` are (K, C) pixels, ``class_pixels`` (C,) those of each class where there are more (unlabelled).
    """
    counts = np.asarray(counts, np.float64)
    of_class = counts.sum(axis=0) if class_pixels is None else np.asarray(class_pixels, np.float64)
    unions = counts.sum(axis=1, keepdims=True) + of_class - counts
    return np.asarray(np.nan_to_num(divide(counts, unions)))


def _assign(value: np.ndarray, table: Contingency, keep_empty: bool) -> dict[int, int]:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(value, maximize=True)
    return {
        int(table.pred_ids[k]): int(table.true_ids[c])
        for k, c in zip(rows, columns, strict=True)
        if keep_empty or table.counts[k, c] > 0
    }


def hungarian_iou(table: Contingency) -> dict[int, int]:
    """Match one to one so that the sum of IoU is largest. Pairs that share no pixel are left unmatched.

    Pixels of a class that were left unlabelled count in its union, as they do in the score.
    """
    return _assign(iou_matrix(table.counts, table.class_pixels), table, keep_empty=False)


def hungarian_counts(table: Contingency, keep_empty: bool = False) -> dict[int, int]:
    """Match one to one so that most pixels agree.

    With ``keep_empty`` also pairs that share no pixel, so that min(K, C) clusters are always matched.
    """
    return _assign(table.counts, table, keep_empty)


def majority(table: Contingency) -> dict[int, int]:
    """Give every cluster the class that covers most of it (many to one); ties go to the lowest class id."""
    if not table.counts.size:
        return {}
    best = table.counts.argmax(axis=1)
    filled = table.counts.sum(axis=1) > 0
    return {
        int(k): int(table.true_ids[c]) for k, c, ok in zip(table.pred_ids, best, filled, strict=True) if ok
    }


def identity(table: Contingency) -> dict[int, int]:
    """Take predicted ids for class ids; those that are no class of the ground truth stay unmatched."""
    return {int(k): int(k) for k in np.intersect1d(table.pred_ids, union(table.true_ids))}
