"""A finished run under edit: its masks, names and record, and how an edit is written and taken back.

Mask files are never changed. An edit writes the masks that differ to ``edits/<number>/masks`` in the run's
folder and points the samples there, so that the masks before it stay as they are, byte for byte, for undo,
for other fields that show them, and for browsers that have cached them. The record is in the database before
the first file is written; whatever a crash leaves is taken back by the next edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np

from ...common.files import remove_empty, remove_inside, remove_partials, write_json
from ...errors import ImageReadError, PseudoMaskError, UsageError
from ...evaluation.fiftyone_masks import with_stored_mask
from ...images.listing import all_samples
from ...masks.files import read_mask_file, write_mask
from ...runs.cleaning import EDITS
from ...runs.folder import RunDirectory
from ..colours import write_classes
from ..database import database_problem
from ..journal import at_work, note, pending
from ..keys import run_key
from ..ownership import shown_by
from ..record import RunFields, RunRecord, finished_run, update_record
from ..summary import ids_of
from ..views import follow_classes, rare_view
from .fields import AreaChange, FieldWriter, MaskContent
from .history import DONE, UNDOING, UNDONE, WRITING, ClassNames, Edit, list_edits, pack, run_names

if TYPE_CHECKING:
    from fiftyone import Dataset

__all__ = ["EditableRun", "MaskRow", "Written"]

NAMES_ALONE = ("rename", "hide")  # kinds of edits that change no mask


@dataclass(frozen=True)
class MaskRow:
    """One mask file of a run, as it is now."""

    name: str  # path of the mask below a folder of masks, the same through all edits
    path: str  # of the file that the samples show now
    image: str  # path of the image
    sample_ids: tuple[str, ...]  # that show it; usually one


@dataclass(frozen=True)
class Written:
    """What an edit changed.

    Attributes:
        field: the mask field.
        edit: its record.
        changed: number of mask files that changed.
        samples: number of samples of which a field changed.
        unread: ids of samples whose mask could not be read; they are as they were.
        outside: ids of samples that show a mask which the run has not written; an edit changes none of them.
    """

    field: str
    edit: Edit
    changed: int
    samples: int
    unread: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()


class EditableRun:
    """The masks of one field of a dataset, and their edits.

    Attributes:
        out: the run's folder.
        edits: all edits, oldest first.
        carried_on: edits whose undoing was cut short, and completed when the run was opened.
    """

    def __init__(self, dataset: Dataset, field: str, out: Path) -> None:
        self.dataset, self.field, self.out, self.key = dataset, field, out, run_key(field)
        self.edits = list_edits(dataset, field)
        self._fields = FieldWriter(dataset, field, self.mask_name)
        self._unread: list[str] = []
        self.carried_on: list[Edit] = []

    # ------------------------------------------------------------------ reading

    @property
    def record(self) -> RunRecord:
        """The record of the run in the database, read anew."""
        return finished_run(self.dataset, self.field)

    @property
    def names(self) -> ClassNames:
        """Names of the classes, as they are now."""
        return run_names(self.dataset, self.field)

    @property
    def applied(self) -> list[Edit]:
        """The edits in force, oldest first."""
        return [edit for edit in self.edits if edit.status == DONE]

    def rows(
        self,
        ids: Iterable[int] | None = None,
        sample_ids: Sequence[str] | None = None,
        *,
        drawn: bool = False,
    ) -> list[MaskRow]:
        """List the mask files that can be edited, by name; those outside the run's folder are left out.

        With ``ids``, only those that may show one of these classes, by the lists beside the masks; with
        ``sample_ids``, only those of these samples. With ``drawn``, the files of samples that show a mask in
        the database are not left out.
        """
        fields = RunFields(self.field)
        samples = all_samples(self.dataset).exists(self.field)
        if sample_ids is not None:
            samples = samples.select(list(sample_ids))
        left_out = set() if drawn else with_stored_mask(samples, self.field)
        wanted = self._names_to_look_for(ids)
        files: dict[str, list[tuple[str, str, str]]] = {}
        columns = ["id", "filepath", fields.path, fields.classes]
        for id_, image, path, listed in zip(*samples.values(columns), strict=True):
            name = self.mask_name(path)
            may_show = wanted is None or listed is None or not wanted.isdisjoint(listed)
            if name is not None and id_ not in left_out and may_show:
                files.setdefault(name, []).append((path, image, id_))
        return [
            MaskRow(name, *found[0][:2], tuple(id_ for *_, id_ in found))
            for name, found in sorted(files.items())
        ]

    @property
    def lists_are_stale(self) -> bool:
        """Whether somebody has given classes other names in the mask targets, which lists do not follow."""
        if self.applied:
            return self.names.shown != self.applied[-1].after.shown
        record = RunDirectory(self.out).read_run()
        return self.names.shown != ids_of(record.classes if record is not None else {})

    def _names_to_look_for(self, ids: Iterable[int] | None) -> set[str] | None:
        """Return the names by which lists tell that a class may be there; ``None``: they do not tell."""
        names, lists = self.names, RunFields(self.field).classes
        if ids is None or self.lists_are_stale or not self.dataset.has_sample_field(lists):
            return None
        return {names.shown[id_] for id_ in ids} if all(id_ in names.shown for id_ in ids) else None

    def mask_name(self, path: str | None) -> str | None:
        """Return the name of a mask file of this run; ``None`` for a file that is not of this run."""
        try:
            parts = PurePath(path or "").relative_to(self.out).parts
        except ValueError:
            return None
        depth = 1 if parts[:1] == ("masks",) else 3 if parts[:1] == (EDITS,) and len(parts) > 3 else 0
        return PurePath(*parts[depth:]).as_posix() if depth and len(parts) > depth else None

    def read(self, row: MaskRow) -> np.ndarray | None:
        """Return the (H, W) class ids of a mask; ``None`` where it cannot be read, which the edit reports."""
        try:
            return read_mask_file(row.path)
        except ImageReadError:  # one bad file must not end the edit
            self._unread += row.sample_ids
            return None

    def changed_names(self, edit: Edit) -> list[str]:
        """Return the names of the masks that an edit in force has changed."""
        folder = self._folder(edit)
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))

    # ------------------------------------------------------------------ writing

    def apply(
        self,
        kind: str,
        settings: Mapping[str, object],
        after: ClassNames,
        masks: Iterable[tuple[MaskRow, np.ndarray]] = (),
        *,
        summarize: Callable[[], dict[str, object]] = dict,
    ) -> Written:
        """Write one edit: record, masks, fields, names, in this order; an error on the way takes it back.

        For ``kind``, ``settings`` and ``after`` see :class:`~.history.Edit`. ``masks`` are those that change,
        each with its new (H, W) class ids; may be a generator. ``summarize`` returns what the record says of
        the result, called when the masks are written.

        Raises:
            PseudoMaskError: a file cannot be written.
        """
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        areas = self.record.areas
        edit = Edit(self._free_number(), kind, now, WRITING, dict(settings), {}, self.names, after, areas)
        self._save([*self.edits, edit])
        try:
            self._write_record(edit)
            return self._carry_out(edit, masks, summarize)
        except OSError as error:
            self.recover()
            raise PseudoMaskError(f"the edit stopped: {error}; nothing was changed") from error
        except BaseException as error:  # a cancelled edit too
            if database_problem(error) is None:  # else the next edit does it: this one would wait in vain
                self.recover()
            raise

    def _free_number(self) -> int:
        """Return the number of the next edit; a copy of the dataset may have edits in the same folder."""
        number = max((edit.number for edit in self.edits), default=0) + 1
        while (self.out / EDITS / f"{number:03d}").exists():
            number += 1
        return number

    def _carry_out(
        self,
        edit: Edit,
        masks: Iterable[tuple[MaskRow, np.ndarray]],
        summarize: Callable[[], dict[str, object]],
    ) -> Written:
        folder = self._folder(edit)
        changed: dict[str, MaskContent] = {}
        gained = AreaChange()
        for row, mask in masks:
            gained.add(mask, read_mask_file(row.path))
            write_mask(folder / row.name, mask)
            changed[row.name] = MaskContent.of(mask, str(folder / row.name))
        samples, unread = self._fields.update(edit.before, edit.after, changed, reread=self.lists_are_stale)
        unread = list(dict.fromkeys([*self._unread, *unread]))
        self._write_names(edit.after)
        outside = () if edit.kind in NAMES_ALONE else self._fields.outside()
        counts = {"masks": len(changed), "samples": samples, "unread": len(unread), "outside": len(outside)}
        edit.summary = {**summarize(), **counts}
        edit.status = DONE
        self._write_record(edit)
        self._save_and_follow(gained.apply(edit.areas, self.out))
        return Written(self.field, edit, len(changed), samples, tuple(unread), outside)

    def undo_last(self) -> Edit:
        """Take the last edit back, and return it: masks, lists, coverage and names are those before it.

        Raises:
            UsageError: there is no edit.
        """
        if not self.applied:
            raise UsageError(f"the masks of {self.field!r} have no edit to take back")
        edit = self.applied[-1]
        edit.status = UNDOING  # what is cut short from here on is carried on by recover()
        self._save(self.edits)
        self._revert(edit, reread=False)
        return edit

    def recover(self) -> None:
        """Take back what a crash has left of an edit, or of its undoing."""
        for edit in reversed(self.edits):
            if edit.status in (WRITING, UNDOING):
                self.carried_on += [edit] if edit.status == UNDOING else []
                self._revert(edit, reread=True)

    def _revert(self, edit: Edit, *, reread: bool) -> None:
        """Point samples back to the masks before ``edit``, restore fields and names, remove its files."""
        folder = self._folder(edit)
        mine = [row for row in self.rows(drawn=True) if PurePath(row.path).is_relative_to(folder)]
        earlier = {row.name: MaskContent(self.path_before(row.name, edit)) for row in mine}
        self._fields.update(edit.after, edit.before, earlier, reread=reread)
        self._write_names(edit.before)
        _remove_masks(self.dataset, folder, {row.name for row in self.rows(drawn=True)})
        edit.status = UNDONE
        if self.out.is_dir():
            remove_partials(folder.parent)
            self._write_record(edit)
        self._save_and_follow(edit.areas)

    # ------------------------------------------------------------------ files

    def _folder(self, edit: Edit) -> Path:
        return self.out / EDITS / f"{edit.number:03d}" / "masks"

    def _write_record(self, edit: Edit) -> None:
        path = self._folder(edit).parent / "edit.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, edit.to_json())

    def path_before(self, name: str, edit: Edit) -> str:
        """Return the path of a mask as it was before ``edit``."""
        for earlier in reversed([e for e in self.applied if e.number < edit.number]):
            path = self._folder(earlier) / name
            if path.is_file():
                return str(path)
        return str(self.out / "masks" / name)

    # ------------------------------------------------------------------ database

    def _save_and_follow(self, areas: Mapping[str, float]) -> None:
        """Keep the records, and let the view of rare classes follow, which may be carried on later."""
        rare = rare_view(self.dataset, self.key)
        if rare is None:
            self._save(self.edits, areas)
            return
        with at_work() as holder:
            self._save(self.edits, areas, {"rare": {"name": rare, "holder": holder}})
            follow_classes(self.dataset, self.key, rare)
            note(self.dataset, self.key, rare=None)

    def _save(
        self,
        edits: list[Edit],
        areas: Mapping[str, float] | None = None,
        following: Mapping[str, object] | None = None,
    ) -> None:
        """Keep the records, the areas of classes where they changed, and what is to follow, in one write."""
        changes: dict[str, object] = {"edits": pack(edits)}
        if following:
            changes["pending"] = {**pending(self.dataset, self.key), **following}
        if areas:
            changes["areas"] = dict(areas)
        update_record(self.dataset, self.key, **changes)
        self.edits = edits

    def _write_names(self, names: ClassNames) -> None:
        targets = self.dataset.mask_targets.get(self.field) or {}
        background = {id_: name for id_, name in ids_of(targets).items() if id_ < 1}
        write_classes(self.dataset, self.field, {**background, **names.shown})


def _remove_masks(dataset: Dataset, folder: Path, names: Iterable[str]) -> None:
    """Remove the masks of an edit that was taken back, ``names`` in ``folder``, unless a copy shows them."""
    remove_partials(folder)
    if shown_by(dataset, str(folder)):
        return
    for name in names:
        remove_inside(folder, name)
    remove_empty(folder)
