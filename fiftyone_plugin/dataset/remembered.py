"""Figures of a dataset that need a look at every sample, kept while no sample changes.

They are kept in this process, and those that took long with the dataset, in a store of FiftyOne's that goes
with it: a million samples are looked at for ten seconds and more, too long for every start of the App.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.operators.store import ExecutionStore

__all__ = ["Packing", "remembered"]

T = TypeVar("T")
State = tuple[int, datetime]  # samples, and when the last of them changed
STORE = "pseudomask-figures"
LONG_S = 0.5  # what took longer is kept with the dataset
HOT_S = 60.0
"""While samples have changed within this time, nothing is kept: one write may still go on under one date."""
MOST = 256  # figures

_known: OrderedDict[Hashable, tuple[Hashable, Any]] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True)
class Packing(Generic[T]):
    """How figures are written as JSON, and read; ``unpack`` may raise anything where that is not sound."""

    pack: Callable[[T], object]
    unpack: Callable[[Any], T]


def remembered(
    dataset: Dataset, key: Hashable, find: Callable[[], T], packing: Packing[T] | None = None
) -> T:
    """Return what ``find`` finds, or what it found before if no sample was added, removed or changed since.

    FiftyOne dates every change of a sample, and has an index of these dates. Of grouped datasets nothing is
    kept. ``packing`` keeps it with the dataset, too, where it took long; ``key`` tells what is looked for.
    """
    state = _state(dataset)
    if state is None:
        return find()
    name = (str(dataset._doc.id), key)
    with _lock:
        known = _known.get(name)
        if known is not None and known[0] == state:
            _known.move_to_end(name)
            return known[1]
    found = _found(dataset, key, state, find, packing)
    with _lock:
        _known[name] = (state, found)
        while len(_known) > MOST:
            _known.popitem(last=False)
    return found


def _found(
    dataset: Dataset, key: Hashable, state: State, find: Callable[[], T], packing: Packing[T] | None
) -> T:
    """Return what is kept with the dataset of this state, or look for it and keep it there."""
    if packing is None:
        return find()
    name, stamp = json.dumps(key), [state[0], state[1].isoformat()]
    with suppress(Exception):  # of a store that cannot be read, or holds something else
        kept = _store(dataset).get(name)
        if kept is not None and kept["state"] == stamp:
            return packing.unpack(kept["found"])
    start = time.monotonic()
    found = find()
    if time.monotonic() - start > LONG_S:
        with suppress(Exception):  # of one that cannot be written to
            _store(dataset).set(name, {"state": stamp, "found": packing.pack(found)})
    return found


def _store(dataset: Dataset) -> ExecutionStore:
    from fiftyone.operators.store import ExecutionStore

    return ExecutionStore.create(STORE, dataset_id=dataset._doc.id, default_policy="evict")


def _state(dataset: Dataset) -> State | None:
    """Return what changes with any sample; ``None`` while samples change."""
    if dataset.media_type == "group":
        return None
    latest = dataset.sort_by("last_modified_at", reverse=True).limit(1).values("last_modified_at")
    if not latest or not isinstance(latest[0], datetime):
        return None
    age = datetime.now(timezone.utc) - latest[0].replace(tzinfo=timezone.utc)
    return (len(dataset), latest[0]) if age.total_seconds() > HOT_S else None
