"""Edits of whole classes: hide them, show them again, merge their ids in the masks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ...common.progress import NullProgress, Progress
from ...errors import UsageError
from ..summary import ids_by_name
from .history import ClassNames
from .opening import editing
from .run import EditableRun, MaskRow, Written

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection as View

__all__ = ["check_known", "hide_classes", "merge_classes", "merge_same_names", "relabel", "show_classes"]


def hide_classes(samples: View, field: str, ids: Iterable[int]) -> Written:
    """Hide classes: the masks keep their pixels, but nothing shows or counts them any more.

    Hidden classes leave the mask targets of ``field``, so that the App does not draw them, and the lists
    ``<field>_classes``. :func:`show_classes` brings them back.

    Raises:
        UsageError: no finished run fills ``field``, a class is unknown, or none would be left.
    """
    with editing(samples, field) as run:
        names, chosen = run.names, sorted(set(ids))
        check_known(run, chosen)
        shown = {id_: name for id_, name in names.shown.items() if id_ not in chosen}
        if not shown:
            raise UsageError(f"at least one class of {field!r} has to stay visible")
        hidden = {**names.hidden, **{id_: names.shown[id_] for id_ in chosen}}
        return run.apply("hide", {"ids": chosen}, ClassNames(shown, dict(sorted(hidden.items()))))


def show_classes(samples: View, field: str, ids: Iterable[int] | None = None) -> Written:
    """Show hidden classes again, those of some ids or all, under the names that they had.

    Raises:
        UsageError: no finished run fills ``field``, or a class is not hidden.
    """
    with editing(samples, field) as run:
        names = run.names
        chosen = sorted(names.hidden if ids is None else set(ids))
        wrong = [id_ for id_ in chosen if id_ not in names.hidden]
        if wrong or not chosen:
            listed = ", ".join(map(str, names.hidden)) or "none"
            what = f"class {wrong[0]} is not hidden" if wrong else "show which class"
            raise UsageError(f"{what}; hidden in {field!r}: {listed}")
        shown = {**names.shown, **{id_: names.hidden[id_] for id_ in chosen}}
        hidden = {id_: name for id_, name in names.hidden.items() if id_ not in chosen}
        return run.apply("hide", {"shown": chosen}, ClassNames(dict(sorted(shown.items())), hidden))


def merge_classes(
    samples: View,
    field: str,
    ids: Iterable[int],
    *,
    name: str | None = None,
    progress: Progress | None = None,
) -> Written:
    """Merge two or more classes in the masks: the pixels of all of them take the lowest id.

    The merged class is called ``name``, or as that of the lowest id was. Giving several ids one name
    (:func:`.names.rename_classes`) merges them wherever names are used, and leaves the masks alone; this is
    for whoever reads the masks themselves.

    Raises:
        UsageError: no finished run fills ``field``, a class is unknown, fewer than two, or not a name.
        PseudoMaskError: a file cannot be written; nothing was changed.
    """
    from .history import checked_name

    with editing(samples, field) as run:
        chosen = sorted(set(ids))
        check_known(run, chosen)
        if len(chosen) < 2:
            raise UsageError("name at least two classes to merge")
        into = chosen[0]
        new = checked_name(name or run.names.shown[into], f"class {into} of {field!r}")
        return _merge(run, dict.fromkeys(chosen[1:], into), {into: new}, progress or NullProgress())


def merge_same_names(samples: View, field: str, *, progress: Progress | None = None) -> Written | None:
    """Merge, in the masks, all classes that have the same name; each group takes its lowest id.

    Returns:
        ``None`` if every class has a name of its own.

    Raises:
        UsageError: no finished run fills ``field``.
        PseudoMaskError: a file cannot be written; nothing was changed.
    """
    with editing(samples, field) as run:
        groups = ids_by_name(run.names.shown).values()
        table = {id_: ids[0] for ids in groups for id_ in ids[1:]}
        return _merge(run, table, {}, progress or NullProgress()) if table else None


def relabel(mask: np.ndarray, table: Mapping[int, int]) -> np.ndarray:
    """Give pixels of (H, W) unsigned class ids other ids, by a table id -> new id that the dtype holds.

    Returns:
        (H, W) of the same dtype; ``mask`` itself where nothing changes.
    """
    lookup = np.arange(max(int(mask.max(initial=0)), *table) + 1).astype(mask.dtype)
    for old, new in table.items():
        lookup[old] = new
    new = lookup[mask]
    return mask if np.array_equal(new, mask) else new


def _merge(
    run: EditableRun, table: Mapping[int, int], named: Mapping[int, str], progress: Progress
) -> Written:
    shown = {id_: named.get(id_, name) for id_, name in run.names.shown.items() if id_ not in table}
    after = ClassNames(shown, run.names.hidden)
    masks = _relabelled(run, table, progress)
    return run.apply("merge", {"ids": {str(old): new for old, new in table.items()}}, after, masks)


def _relabelled(
    run: EditableRun, table: Mapping[int, int], progress: Progress
) -> Iterator[tuple[MaskRow, np.ndarray]]:
    rows = run.rows(table)
    with progress.stage("merge classes", total=len(rows)) as stage:
        for row in rows:
            stage.update()
            mask = run.read(row)
            new = mask if mask is None else relabel(mask, table)
            if new is not None and new is not mask:
                yield row, new


def check_known(run: EditableRun, ids: Collection[int]) -> None:
    """Check that classes are there and shown.

    Raises:
        UsageError: one is not, or there are none.
    """
    shown = run.names.shown
    wrong = [id_ for id_ in ids if id_ not in shown]
    if wrong or not ids:
        listed = ", ".join(f"{id_} ({name})" for id_, name in list(shown.items())[:12])
        more = ", ..." if len(shown) > 12 else ""
        what = f"{run.field!r} has no class {wrong[0]}" if wrong else "name a class"
        raise UsageError(f"{what}; there are: {listed}{more}")
