"""Names that a person has chosen for classes and not yet written.

They are kept in FiftyOne's execution store, apart from the record of the run: they come one by one, while an
edit may be writing that record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import PseudoMaskError
from .record import RunRecord

if TYPE_CHECKING:
    from fiftyone import Dataset

__all__ = ["drafted", "forget_draft", "keep_draft"]

STORE = "pseudomask_names"
TRIES = 20  # of a write that others keep coming before


def drafted(dataset: Dataset, run: RunRecord) -> dict[int, str]:
    """Return class id -> the name that a person has chosen so far and not yet written."""
    return _read(_store(dataset).get(_key(run)))


def keep_draft(dataset: Dataset, run: RunRecord, names: Mapping[int, str]) -> dict[int, str]:
    """Keep some names until they are written; an empty one takes a name back. Returns all that there are.

    Several may do so at once: each adds its own names to those of the others.

    Raises:
        PseudoMaskError: others do so without a pause.
    """
    store, key = _store(dataset), _key(run)
    for _ in range(TRIES):
        old = store.get(key)
        merged = {**_read(old), **names}
        new = {id_: name for id_, name in merged.items() if name}
        value = {"names": {str(id_): name for id_, name in new.items()}}
        if store.set_if_absent(key, value) if old is None else store.compare_and_set(key, old, value):
            return new
    raise PseudoMaskError(f"the names of {run.field!r} are being changed by somebody else: try again")


def forget_draft(dataset: Dataset, run: RunRecord) -> None:
    """Forget the names so far of a run that is going to be deleted."""
    _store(dataset).delete(_key(run))


def _store(dataset: Dataset) -> Any:
    from fiftyone.operators.store import ExecutionStore

    return ExecutionStore.create(STORE, dataset_id=dataset._dataset._doc.id)


def _key(run: RunRecord) -> str:
    return run.run_id or run.key


def _read(value: Any) -> dict[int, str]:
    names = value.get("names") if isinstance(value, dict) else None
    pairs = names.items() if isinstance(names, dict) else ()
    return {int(k): str(v) for k, v in pairs if str(k).isdecimal() and v}
