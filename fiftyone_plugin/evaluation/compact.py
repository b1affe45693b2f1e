"""Counted images as a short JSON value: byte planes of the columns, compressed, base64."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np

from ..errors import UsageError
from .per_image import ImageCounts

__all__ = ["decode", "encode", "pack", "unpack"]

FORMAT = 1


def pack(values: np.ndarray) -> str:
    """Return a one-dimensional array of numbers as text; small numbers of a wide type cost little."""
    planes = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), values.itemsize).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode()


def unpack(text: str, dtype: str) -> np.ndarray:
    """Return what :func:`pack` packed."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return np.ascontiguousarray(planes.reshape(np.dtype(dtype).itemsize, -1).T).view(dtype).ravel()


def encode(images: ImageCounts) -> dict[str, Any]:
    """Return counts and extra values of every image, without names, as JSON-serialisable values.

    A cell is the number of its pair of ids, as the distance from the cell before it in the same image.
    """
    image, pred, true, count = images.cells
    pred_ids, rows = np.unique(pred, return_inverse=True)
    true_ids, columns = np.unique(true, return_inverse=True)
    cells = rows * true_ids.size + columns
    sizes = np.bincount(image, minlength=len(images))
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
        "extras": {key: pack(np.array(values, "<f8")) for key, values in images.extras.items()},
    }


def decode(document: dict[str, Any], names: list[str]) -> ImageCounts:
    """Restore what :func:`encode` returned.

    Args:
        document: the encoded counts.
        names: one name an image.

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
    extras = {key: unpack(text, "<f8") for key, text in document["extras"].items()}
    return ImageCounts.from_cells(names, sizes, pred_ids[rows], true_ids[columns], count, extras)
