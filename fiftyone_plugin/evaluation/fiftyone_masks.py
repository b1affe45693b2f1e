"""Fast reading of two segmentation fields: masks only, read ahead by threads, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from ..errors import ImageReadError
from ..parallel import batched
from .folders import read_mask
from .summary import naming

__all__ = ["load_mask", "map_mask_pairs"]

T = TypeVar("T")
Task = tuple[str, str, str, Future[T | None]]

# samples whose masks are held at once
BATCH = 64


def load_mask(path: str | None, stored: np.ndarray | None) -> np.ndarray | None:
    """Return the (H, W) ids of a mask on disk, or stored in the database; ``None`` if there is neither.

    Colours become FiftyOne's integers for them (0xRRGGBB); palette files become their indices, where FiftyOne
    would read their colours.

    Raises:
        ImageReadError: the file is missing or no mask.
    """
    mask = stored
    if mask is None and path is not None:
        mask = _decode(path)
        if mask is None or mask.ndim == 3:
            mask = _read_other(path)
    if mask is None:
        return None
    return _colours_to_ids(mask) if mask.ndim == 3 else mask


def _decode(path: str) -> np.ndarray | None:
    """Decode a file with OpenCV, ``None`` if that fails; ``imread`` crashes on names that are not UTF-8."""
    import cv2

    try:
        data = np.fromfile(path, np.uint8)
    except OSError:
        return None
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None


def _read_other(path: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode in ("RGB", "RGBA"):
                return np.asarray(image)
    except OSError:
        pass
    return read_mask(path)


def _colours_to_ids(mask: np.ndarray) -> np.ndarray:
    if mask.shape[2] == 1:
        return mask[:, :, 0]
    if mask.shape[2] not in (3, 4):
        raise ImageReadError("a mask in the database", f"not a mask of class ids: shape {mask.shape}")
    red, green, blue = (mask[:, :, i].astype(np.int64) for i in range(3))
    return (red << 16) + (green << 8) + blue


def map_mask_pairs(
    samples: Any,
    pred_field: str,
    true_field: str,
    function: Callable[[np.ndarray, np.ndarray], T],
    workers: int = 4,
) -> Iterator[tuple[str, str, str, T | None]]:
    """Call a function with the masks of every sample of a FiftyOne collection, in threads.

    Args:
        samples: a ``fiftyone.core.collections.SampleCollection``.
        pred_field: name of a Segmentation field.
        true_field: name of a Segmentation field.
        function: takes predicted and true ids, each (H, W).
        workers: threads that read masks and call ``function``.

    Yields:
        the ids of sample, predicted and true label, and what ``function`` returned, in the order of the
        collection; ``None`` where the sample lacks one of the masks.

    Raises:
        PseudoMaskError: a mask file is missing or no mask, or ``function`` refuses it; names the image.
    """

    def task(path: str, pred: tuple[str | None, Any], true: tuple[str | None, Any]) -> T | None:
        with naming(path):
            masks = load_mask(*pred), load_mask(*true)
            return None if masks[0] is None or masks[1] is None else function(masks[0], masks[1])

    columns = ["id", "filepath"] + [
        f"{f}.{part}" for f in (pred_field, true_field) for part in ("id", "mask_path")
    ]
    rows = zip(*samples.values(columns), strict=True)
    with ThreadPoolExecutor(workers) as pool:
        running: list[Task[T]] = []
        for batch in batched(rows, BATCH):
            stored = _stored(samples, batch, (pred_field, true_field))
            started = []
            for id_, path, pred_id, pred_path, true_id, true_path in batch:
                pred, true = stored.get(id_, (None, None))
                future = pool.submit(task, path, (pred_path, pred), (true_path, true))
                started.append((id_, pred_id, true_id, future))
            # one batch is handed on while the next one is read
            yield from _finish(running)
            running = started
        yield from _finish(running)


def _finish(
    running: list[tuple[str, str, str, Future[T | None]]],
) -> Iterator[tuple[str, str, str, T | None]]:
    for sample_id, pred_id, true_id, future in running:
        yield sample_id, pred_id, true_id, future.result()


def _stored(samples: Any, batch: list[tuple], fields: tuple[str, str]) -> dict[str, tuple]:
    """Return the masks that lie in the database: sample id -> one a field."""
    wanted = [row[0] for row in batch if (row[2] and not row[3]) or (row[4] and not row[5])]
    if not wanted:
        return {}
    ids, *masks = samples.select(wanted).values(["id", *(f"{field}.mask" for field in fields)])
    return dict(zip(ids, zip(*masks, strict=True), strict=True))
