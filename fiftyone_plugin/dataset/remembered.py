"""Figures of a dataset that need a look at every sample, kept in this process while no sample changes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from fiftyone import Dataset

__all__ = ["remembered"]

T = TypeVar("T")
HOT_S = 60.0
"""While samples have changed within this time, nothing is kept: one write may still go on under one date."""
MOST = 256  # figures

_known: OrderedDict[Hashable, tuple[Hashable, Any]] = OrderedDict()
_lock = threading.Lock()


def remembered(dataset: Dataset, key: Hashable, find: Callable[[], T]) -> T:
    """Return what ``find`` finds, or what it found before if no sample was added, removed or changed since.

    FiftyOne dates every change of a sample, and has an index of these dates.

    Args:
        dataset: the dataset; of grouped ones nothing is kept.
        key: what is looked for.
        find: looks for it.
    """
    state = _state(dataset)
    if state is None:
        return find()
    name = (str(dataset._doc.id), key)
    with _lock:
        known = _known.get(name)
        if known is not None and known[0] == state:
            _known.move_to_end(name)
            return known[1]  # type: ignore[no-any-return]
    found = find()
    with _lock:
        _known[name] = (state, found)
        while len(_known) > MOST:
            _known.popitem(last=False)
    return found


def _state(dataset: Dataset) -> tuple[int, datetime] | None:
    """Return what changes with any sample; ``None`` while samples change."""
    if dataset.media_type == "group":
        return None
    latest = dataset.sort_by("last_modified_at", reverse=True).limit(1).values("last_modified_at")
    if not latest or not isinstance(latest[0], datetime):
        return None
    age = datetime.now(timezone.utc) - latest[0].replace(tzinfo=timezone.utc)
    return (len(dataset), latest[0]) if age.total_seconds() > HOT_S else None
