"""What is known of the edits of a run: one record each, in order, with the names before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import UsageError
from ..keys import run_key
from ..record import plain, stored
from ..summary import ids_of

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection as View

__all__ = ["DONE", "LONGEST", "UNDOING", "UNDONE", "WRITING", "ClassNames", "Edit", "checked_name"]
__all__ += ["list_edits", "pack", "run_names", "unpack"]

K = TypeVar("K")
V = TypeVar("V")
WRITING, DONE, UNDOING, UNDONE = "writing", "done", "undoing", "undone"


@dataclass(frozen=True)
class ClassNames:
    """Names of the classes of a mask field, each class id >= 1 -> name."""

    shown: dict[int, str]  # those in the mask targets
    hidden: dict[int, str] = field(default_factory=dict)  # those in the masks that are not shown

    @property
    def all(self) -> dict[int, str]:
        """Names of all classes, shown or hidden, by ascending id."""
        names = {**self.shown, **self.hidden}
        return {id_: names[id_] for id_ in sorted(names)}

    def next_id(self) -> int:
        """Return the first id after all ids in use."""
        return max(self.all, default=0) + 1

    def to_json(self) -> dict[str, dict[str, str]]:
        """Return what :meth:`from_json` takes; keys of a database are text."""
        return {part: {str(k): v for k, v in names.items()} for part, names in vars(self).items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Mapping[str, str]]) -> ClassNames:
        """Restore what :meth:`to_json` returned."""
        parts = (document.get(part) or {} for part in ("shown", "hidden"))
        return cls(*({int(k): str(v) for k, v in names.items()} for names in parts))


@dataclass
class Edit:
    """One edit of a run.

    Attributes:
        number: counted from 1, never used again.
        kind: ``rename``, ``hide``, ``merge``, ``split``, ``detections`` or ``propagate``.
        time: when it began, ISO 8601 in UTC.
        status: ``writing``, ``done``, ``undoing`` or ``undone``; one that is ``writing`` or ``undoing`` while
            nobody is at work was cut short by a crash, and is taken back before the next edit.
        settings: what was asked for, JSON-serialisable.
        summary: what it did, JSON-serialisable; empty until it is done.
        before: names before it.
        after: names after it.
        areas: class id -> share of all pixels before it, as the run's record has them; may be empty.
    """

    number: int
    kind: str
    time: str
    status: str
    settings: dict[str, Any]
    summary: dict[str, Any]
    before: ClassNames
    after: ClassNames
    areas: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return what :meth:`from_json` takes."""
        return {**vars(self), "before": self.before.to_json(), "after": self.after.to_json()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Edit:
        """Restore what :meth:`to_json` returned."""
        values = {name: plain(document[name]) for name in cls.__dataclass_fields__}
        names = {name: ClassNames.from_json(values[name]) for name in ("before", "after")}
        return cls(**{**values, **names})


def list_edits(samples: View, field: str) -> list[Edit]:
    """Return all edits of the run that fills ``field``, oldest first, with those that were taken back.

    The record may come from anybody: what is no edit is left out. Without a run there are no edits.
    """
    dataset, key = samples._dataset, run_key(field)
    documents = stored(dataset, key, "edits") if dataset.has_run(key) else None
    return unpack(documents if isinstance(documents, list) else [])


def pack(edits: Sequence[Edit]) -> list[dict[str, object]]:
    """Return the edits of a run as its record holds them: each as what differs from the one before it.

    Names and areas of a thousand classes in every edit would fill a document of the database, of 16 MB, with
    some two hundred edits, and make each slower than the last.
    """
    documents: list[dict[str, object]] = []
    known = _State()
    for edit in edits:
        before, after = (_State.of(names, edit.areas) for names in (edit.before, edit.after))
        document = {name: getattr(edit, name) for name in SCALARS}
        document |= {"before": known.differences(before), "after": before.differences(after)}
        documents.append({**document, "packed": True})
        known = after
    return documents


def unpack(documents: Sequence[Any]) -> list[Edit]:
    """Restore what :func:`pack` returned; edits of earlier versions stand there whole.

    What cannot be read is left out, and what is told by its difference from that with it.
    """
    edits: list[Edit] = []
    known = _State()
    for document in documents:
        packed = not isinstance(document, Mapping) or document.get("packed")
        try:
            if packed:
                before = known.changed(plain(document["before"]))
                after = before.changed(plain(document["after"]))
                values = {name: plain(document[name]) for name in SCALARS}
                edit = Edit(**values, before=before.names, after=after.names, areas=before.areas)
            else:
                edit = Edit.from_json(document)
            _check(edit)
        except (AttributeError, KeyError, TypeError, ValueError):
            if packed:
                break
            continue
        edits.append(edit)
        known = _State.of(edit.after, edit.areas)
    return edits


SCALARS = ("number", "kind", "time", "status", "settings", "summary")


@dataclass(frozen=True)
class _State:
    """Names and areas between two edits; mappings that an edit leaves alone are one object."""

    shown: dict[int, str] = field(default_factory=dict)
    hidden: dict[int, str] = field(default_factory=dict)
    areas: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, names: ClassNames, areas: dict[str, float]) -> _State:
        return cls(names.shown, names.hidden, areas)

    @property
    def names(self) -> ClassNames:
        return ClassNames(self.shown, self.hidden)

    def differences(self, new: _State) -> dict[str, object]:
        """Return what :meth:`changed` takes; a part that is the same is not in it."""
        parts = ((name, getattr(self, name), value) for name, value in vars(new).items())
        return {name: _difference(old, value) for name, old, value in parts if old != value}

    def changed(self, differences: Mapping[str, Any]) -> _State:
        """Return the state after the differences."""
        parts = {name: _applied(getattr(self, name), each, name) for name, each in differences.items()}
        return replace(self, **parts)


def _difference(old: Mapping[K, V], new: Mapping[K, V]) -> dict[str, object]:
    changed = {str(key): value for key, value in new.items() if key not in old or old[key] != value}
    return {"changed": changed, "gone": [str(key) for key in old if key not in new]}


def _applied(old: Mapping[K, V], difference: Mapping[str, Any], part: str) -> dict[Any, Any]:
    key, value = (str, float) if part == "areas" else (int, str)
    gone = {key(text) for text in difference["gone"]}
    changed = {key(text): value(each) for text, each in difference["changed"].items()}
    return {k: v for k, v in old.items() if k not in gone} | changed


def _check(edit: Edit) -> None:
    maps = (edit.settings, edit.summary, edit.areas)
    if type(edit.number) is not int or edit.number < 1 or not all(isinstance(each, dict) for each in maps):
        raise ValueError("this is no edit")


def run_names(dataset: Dataset, field: str) -> ClassNames:
    """Return the names of the classes of a mask field, shown and hidden."""
    shown = {id_: name for id_, name in ids_of(dataset.mask_targets.get(field) or {}).items() if id_}
    done = [edit for edit in list_edits(dataset, field) if edit.status == DONE]
    hidden = done[-1].after.hidden if done else {}
    return ClassNames(dict(sorted(shown.items())), {id_: n for id_, n in hidden.items() if id_ not in shown})


LONGEST = 100  # characters; a name is shown in tables and tool tips


def checked_name(name: str, what: str) -> str:
    """Return a name, as a person typed it, with single spaces; ``what`` names the class in the error.

    Raises:
        UsageError: it is empty or too long.
    """
    name = " ".join(str(name).split())
    if not 1 <= len(name) <= LONGEST:
        raise UsageError(f"{what} needs a name of 1 to {LONGEST} characters")
    return name
