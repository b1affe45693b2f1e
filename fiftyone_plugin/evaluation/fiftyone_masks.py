"""Fast reading of two segmentation fields: masks only, read ahead by threads, in bounded memory.

A label may have a mask in the database and the path of a file: as in FiftyOne, the one in the database is
the mask, e.g. an edit that is not on disk yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..common.parallel import batched
from ..common.remote import ahead
from ..common.skipped import Skipped
from ..errors import ImageReadError, UsageError
from ..masks.files import load_mask
from ..masks.rules import FIFTYONE, MaskRules
from .options import Classes

if TYPE_CHECKING:
    import fiftyone.core.collections as foc


__all__ = ["field_rules", "map_mask_pairs", "stored_masks", "with_stored_mask"]

T = TypeVar("T")
_Stored = tuple[str | None, np.ndarray | None]  # a mask as `load_mask` takes it
_Pair = tuple[tuple[str, str, str], str, _Stored, _Stored]
BATCH = 64  # samples whose masks are held at once


def field_rules(collection: foc.SampleCollection, field: str, targets: Classes | None = None) -> MaskRules:
    """Return what the pixels of a Segmentation field mean: that depends on whether its targets are colours.

    The targets are names by id or colour; default: the mask targets of the field, else of the dataset.
    """
    dataset = collection._root_dataset
    targets = targets or dataset.mask_targets.get(field) or dataset.default_mask_targets
    return MaskRules.of(range(len(targets)) if isinstance(targets, list | tuple) else targets)


def with_stored_mask(samples: foc.SampleCollection, field: str) -> set[str]:
    """Return the ids of the samples whose label has a mask in the database; reads no mask."""
    return set(samples.exists(f"{field}.mask").values("id"))


def stored_masks(samples: foc.SampleCollection, ids: list[str], field: str) -> dict[str, np.ndarray]:
    """Return the masks in the database of some samples, those of :func:`with_stored_mask`, by sample id."""
    if not ids:
        return {}
    found = zip(*samples.select(ids).values(["id", f"{field}.mask"]), strict=True)
    return {id_: mask for id_, mask in found if mask is not None}


def map_mask_pairs(
    samples: foc.SampleCollection,
    pred_field: str,
    true_field: str,
    function: Callable[[np.ndarray, np.ndarray], T],
    rules: tuple[MaskRules, MaskRules] = (FIFTYONE, FIFTYONE),
) -> Iterator[tuple[str, str, str, T | Skipped | None]]:
    """Call a function with the masks of two Segmentation fields of every sample, in threads.

    It takes predicted and true ids, each (H, W); a UsageError says that they do not fit. The rules say what
    the pixels of the two fields mean.

    Yields:
        the ids of sample, predicted and true label, and what ``function`` returned, in the order of the
        collection; ``None`` where the sample lacks one of the masks, and the reason where one cannot be read
        or the two do not fit, with the image's path for a key.
    """

    def task(pair: _Pair) -> tuple[str, str, str, T | Skipped | None]:
        ids, image, pred, true = pair
        try:
            a, b = load_mask(*pred, rules[0]), load_mask(*true, rules[1])
            return *ids, None if a is None or b is None else function(a, b)
        except (ImageReadError, UsageError) as error:
            return *ids, Skipped(image, str(error))

    return ahead(task, _pairs(samples, (pred_field, true_field)))


def _pairs(samples: foc.SampleCollection, fields: tuple[str, str]) -> Iterator[_Pair]:
    """Yield the ids of sample, predicted and true label, the image's path and the two masks."""
    columns = ["id", "filepath"] + [f"{f}.{part}" for f in fields for part in ("id", "mask_path")]
    in_database = [with_stored_mask(samples, field) for field in fields]
    for batch in batched(zip(*samples.values(columns), strict=True), BATCH):
        preds, trues = (
            stored_masks(samples, [row[0] for row in batch if row[0] in known], field)
            for field, known in zip(fields, in_database, strict=True)
        )
        for id_, path, pred_id, pred_path, true_id, true_path in batch:
            yield (id_, pred_id, true_id), path, (pred_path, preds.get(id_)), (true_path, trues.get(id_))
