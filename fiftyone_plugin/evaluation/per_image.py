"""Contingency tables of many images in little memory: 12 bytes for each pair of ids in an image.

In the database they are a short JSON value: byte planes of the columns, compressed, base64.
"""

from __future__ import annotations

import base64
import math
import zlib
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from .confusion import Contingency, tabulate

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["ImageCounts", "pack", "unpack"]

FORMAT = 1  # of counts in the database


def pack(values: np.ndarray) -> str:
    """Return a one-dimensional array of numbers as text; small numbers of a wide type cost little."""
    planes = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), values.itemsize).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode()


def unpack(text: str, dtype: str) -> np.ndarray:
    """Return what :func:`pack` packed."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return np.ascontiguousarray(planes.reshape(np.dtype(dtype).itemsize, -1).T).view(dtype).ravel()


class ImageCounts:
    """Tables of images in the order they were added, stored as sparse cells.

    Attributes:
        names: one name an image.
        extras: further per-image values by name, one an image (nan: not measured).
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.extras: dict[str, array[float]] = {}
        self._ends = array("Q")  # cells up to the end of every image
        self._cells = array("I")  # predicted id, true id and pixels of one after the other

    def __len__(self) -> int:
        return len(self.names)

    @property
    def pixels(self) -> int:
        """Pixels counted, of all images."""
        return int(self._columns()[2].sum())

    def append(self, name: str, table: Contingency, extras: dict[str, float] | None = None) -> None:
        """Add one image. Ids and counts must fit 32 bits."""
        rows, columns = np.nonzero(table.counts)
        self._cells.frombytes(
            _packed(table.pred_ids[rows], table.true_ids[columns], table.counts[rows, columns])
        )
        self.names.append(name)
        self._ends.append(len(self._cells) // 3)
        extras = extras or {}
        for key in extras:
            self.extras.setdefault(key, array("d", [math.nan] * (len(self.names) - 1)))
        for key, column in self.extras.items():
            column.append(extras.get(key, math.nan))

    @property
    def cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Image number, predicted id, true id and pixel count of every non-zero cell, each (n,) int64."""
        images = np.repeat(np.arange(len(self)), np.diff([0, *self._ends]))
        pred, true, count = self._columns()
        return images, pred, true, count

    def _columns(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return predicted ids, true ids and pixels of some cells, (3, n) int64."""
        cells = np.frombuffer(self._cells, np.uint32).reshape(-1, 3)[start:stop]
        return np.asarray(cells.T, np.int64, order="C")

    def __getitem__(self, index: int) -> Contingency:
        """Return the table of one image."""
        return tabulate(*self._columns(self._ends[index - 1] if index else 0, self._ends[index]))

    def __iter__(self) -> Iterator[Contingency]:
        return (self[i] for i in range(len(self)))

    def total(self) -> Contingency:
        """Return the table of all images together.

        Raises:
            UsageError: so many different ids are no classes.
        """
        return tabulate(*self._columns())

    def sparse(self, rows: np.ndarray, n_rows: int, true_ids: np.ndarray) -> csr_matrix:
        """Return (images, n_rows * C) pixel counts, one flattened (n_rows, C) matrix an image.

        Args:
            rows: the row in [0, n_rows) that every entry of :attr:`cells` falls into; several may share one.
            n_rows: number of rows.
            true_ids: (C,) ascending, every true id that occurs, one column each.
        """
        from scipy.sparse import coo_matrix

        images, _, true, count = self.cells
        flat = rows * true_ids.size + np.searchsorted(true_ids, true)
        shape = (len(self), n_rows * true_ids.size)
        return coo_matrix((count, (images, flat)), shape=shape, dtype=np.int64).tocsr()

    def encode(self) -> dict[str, object]:
        """Return counts and extra values of every image, without names, as JSON-serialisable values.

        A cell is the number of its pair of ids, as the distance from the cell before it in the same image.
        """
        image, pred, true, count = self.cells
        pred_ids, rows = np.unique(pred, return_inverse=True)
        true_ids, columns = np.unique(true, return_inverse=True)
        cells = rows * true_ids.size + columns
        sizes = np.bincount(image, minlength=len(self))
        steps = np.diff(cells, prepend=0)
        starts = (np.cumsum(sizes) - sizes)[sizes > 0]
        steps[starts] = cells[starts]
        return {
            "format": FORMAT,
            "pred_ids": pred_ids.tolist(),
            "true_ids": true_ids.tolist(),
            "sizes": pack(sizes.astype("<u4")),
            "steps": pack(steps.astype("<u4")),
            "count": pack(count.astype("<u4")),
            "extras": {key: pack(np.array(values, "<f8")) for key, values in self.extras.items()},
        }

    @classmethod
    def decode(cls, document: dict[str, Any], names: list[str]) -> ImageCounts:
        """Restore what :meth:`encode` returned, with one name an image.

        Raises:
            UsageError: encoded in a format this version does not read.
        """
        if document.get("format") != FORMAT:
            found = document.get("format")
            raise UsageError(f"the stored counts have format {found}, this version reads {FORMAT}")
        sizes, steps, count = (
            unpack(document[key], "<u4").astype(np.int64) for key in ("sizes", "steps", "count")
        )
        sums = np.concatenate([[0], np.cumsum(steps)])
        cells = sums[1:] - np.repeat(sums[np.cumsum(sizes) - sizes], sizes)
        pred_ids, true_ids = (np.array(document[key], np.int64) for key in ("pred_ids", "true_ids"))
        rows, columns = np.divmod(cells, max(true_ids.size, 1))
        images = cls()
        images.names = list(names)
        images._ends.extend(np.cumsum(sizes).tolist())
        images._cells.frombytes(_packed(pred_ids[rows], true_ids[columns], count))
        images.extras = {
            key: array("d", unpack(text, "<f8").tolist()) for key, text in document["extras"].items()
        }
        return images


def _packed(pred: np.ndarray, true: np.ndarray, count: np.ndarray) -> bytes:
    return np.stack([pred, true, count], axis=1).astype(np.uint32).tobytes()
