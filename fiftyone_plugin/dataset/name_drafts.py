"""Names that a person has chosen for classes and not yet written, and those that a model suggests.

They are kept in FiftyOne's execution store, apart from the record of the run: they come one by one, while an
edit may be writing that record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import PseudoMaskError
from .record import RunRecord

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.operators.store import ExecutionStore

__all__ = ["drafted", "forget_draft", "ideas_of", "keep_draft", "keep_ideas"]

STORE = "pseudomask_names"
IDEAS = "/ideas"  # after the key of a run
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


def keep_ideas(dataset: Dataset, run: RunRecord, ideas: Mapping[int, Sequence[tuple[str, float]]]) -> None:
    """Keep the names that a model suggests for classes, best first, each with its score, 0..1."""
    rows = {str(id_): [[name, float(score)] for name, score in found] for id_, found in ideas.items()}
    _store(dataset).set(_key(run) + IDEAS, {"ideas": rows})


def ideas_of(dataset: Dataset, run: RunRecord) -> dict[int, list[tuple[str, float]]]:
    """Return what :func:`keep_ideas` kept; nothing of it is a name until a person says so."""
    kept = _store(dataset).get(_key(run) + IDEAS)
    rows = kept.get("ideas") if isinstance(kept, dict) else None
    return {
        int(id_): [(str(name), float(score)) for name, score in found]
        for id_, found in (rows or {}).items()
        if str(id_).isdecimal()
    }


def forget_draft(dataset: Dataset, run: RunRecord) -> None:
    """Forget the names so far of a run that is going to be deleted, and the suggestions."""
    for end in ("", IDEAS):
        _store(dataset).delete(_key(run) + end)


def _store(dataset: Dataset) -> ExecutionStore:
    from fiftyone.operators.store import ExecutionStore

    return ExecutionStore.create(STORE, dataset_id=dataset._dataset._doc.id)


def _key(run: RunRecord) -> str:
    return run.run_id or run.key


def _read(value: object) -> dict[int, str]:
    names = value.get("names") if isinstance(value, dict) else None
    pairs = names.items() if isinstance(names, dict) else ()
    return {int(k): str(v) for k, v in pairs if str(k).isdecimal() and v}
