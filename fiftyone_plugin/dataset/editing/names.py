"""Names for the classes of a run: rename, merge by giving two ids one name, restore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import UsageError
from .history import ClassNames, checked_name, run_names
from .opening import editing
from .run import EditableRun

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection as View

__all__ = ["RenameResult", "class_names", "rename_classes", "restore_names"]


@dataclass(frozen=True)
class RenameResult:
    """What an edit of names did."""

    names: dict[int, str]  # by class id, of all classes that are shown, after the edit
    samples: int  # whose list of classes changed
    unread: tuple[str, ...] = ()  # ids of samples whose mask could not be read; their lists are as they were


def class_names(dataset: Dataset, field: str) -> dict[int, str]:
    """Return class id -> name of a mask field, ascending; 0 and hidden classes are left out."""
    return run_names(dataset, field).shown


def rename_classes(samples: View, field: str, names: Mapping[int, str]) -> RenameResult:
    """Give classes of a run other names; two ids of one name are merged wherever names are used.

    The masks stay as they are, ids included. The mask targets of ``field`` and the lists ``<field>_classes``
    follow, and the edit is recorded with the run: :func:`restore_names` gives back all original names,
    :func:`fiftyone_plugin.dataset.editing.undo_edit` takes back the last edit. ``names`` are class id -> new
    name; other classes keep theirs.

    Raises:
        UsageError: no finished run fills ``field``, an id is unknown, or a name is empty or too long.
    """
    with editing(samples, field) as run:
        old = run.names.shown
        return _apply(run, {**old, **_checked(names, old, field)}, {})


def restore_names(samples: View, field: str) -> RenameResult:
    """Give all classes the names that the run wrote; classes that edits have made since keep theirs.

    Raises:
        UsageError: no finished run fills ``field``.
    """
    with editing(samples, field) as run:
        old = run.names.shown
        original = run.edits[0].before.all if run.edits else old
        return _apply(run, {id_: original.get(id_, name) for id_, name in old.items()}, {"restore": True})


def _checked(names: Mapping[int, str], old: Mapping[int, str], field: str) -> dict[int, str]:
    unknown = sorted(set(names) - set(old))
    if unknown:
        known = f"its ids are {min(old)} to {max(old)}" if old else "its mask targets name none"
        raise UsageError(f"{field!r} has no class {unknown[0]}: {known}")
    return {id_: checked_name(name, f"class {id_} of {field!r}") for id_, name in names.items()}


def _apply(run: EditableRun, new: dict[int, str], settings: dict[str, object]) -> RenameResult:
    before = run.names
    if new == before.shown:
        return RenameResult(new, 0)
    changes = {str(id_): [before.shown[id_], name] for id_, name in new.items() if before.shown[id_] != name}
    done = run.apply("rename", {**settings, "names": changes}, ClassNames(new, before.hidden))
    return RenameResult(new, done.samples, done.unread)
