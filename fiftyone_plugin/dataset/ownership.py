"""Whose a run in a dataset is, which of its files may go, and which labels a person has put there since.

A record names a folder and fields, and it travels: with a clone of the dataset, with an export that is
imported again, with a dataset that somebody else has made. Only the dataset in which a run was made may
change the run's files, and only while nothing else shows them.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.files import remove_partials
from ..errors import UsageError
from ..images.listing import all_samples
from ..runs.cleaning import EDITS
from ..runs.folder import RunDirectory
from .database import dataset_id
from .keys import METHOD
from .record import RunFields, RunRecord

if TYPE_CHECKING:
    from fiftyone import Dataset

    from ..runs.record import RunDocument

__all__ = ["RunFolder", "detach", "folder_of", "ids_of_others", "ids_of_run", "is_own", "is_trusted"]
__all__ += ["remove_default_parents", "remove_files", "replacing_folder", "shown_by"]

logger = logging.getLogger(__name__)

PATHS_OF = {
    "Segmentation": "mask_path",
    "Heatmap": "map_path",
    "Detection": "mask_path",
    "Detections": "detections.mask_path",
}
"""Types of labels that show files -> where they name them."""


@dataclass(frozen=True)
class RunFolder:
    """The folder that a record names, and what tells whether it is that run's."""

    out: str
    dataset_id: str  # that the run was made in
    run_id: str
    settings: dict[str, Any]  # of the run, which stand in for the id in records of earlier versions

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> RunFolder:
        """Take the values from a record, or a step of its journal."""
        out, owner, run_id = (str(values.get(name) or "") for name in ("out", "dataset_id", "run_id"))
        settings = values.get("settings")
        return cls(out, owner, run_id, settings if isinstance(settings, dict) else {})

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`of` takes; the settings only where there is no id."""
        return {**vars(self), "settings": {} if self.run_id else self.settings}

    def holds_the_run(self) -> bool:
        """Return whether the folder holds the run that the record speaks of, not another one or none."""
        document = self._document()
        if document is None:
            return False
        if self.run_id and document.run_id:
            return document.run_id == self.run_id
        return bool(self.settings) and self.settings == document.settings

    def may_hold_the_run(self) -> bool:
        """Return whether the folder has no other run; one without an id is this, in a folder taken for it."""
        document = self._document()
        return document is not None and (
            not document.run_id or not self.run_id or document.run_id == self.run_id
        )

    def _document(self) -> RunDocument | None:
        try:
            return RunDirectory(Path(self.out)).read_run()
        except (UsageError, OSError, ValueError):
            return None


def folder_of(record: RunRecord) -> RunFolder:
    """Return the folder that a record names; the id in its ``run.json`` is known once the run is complete."""
    return RunFolder.of({**vars(record), "run_id": record.run_id if record.is_complete else ""})


def replacing_folder(step: Mapping[str, Any]) -> RunFolder:
    """Return the folder of a run that is to replace another; the id in its ``run.json`` is not known yet."""
    return RunFolder.of({**step, "run_id": ""})


def is_own(dataset: Dataset, run: RunFolder) -> bool:
    """Return whether a run was made in this dataset, so that its files may be changed from here."""
    if run.dataset_id:
        return run.dataset_id == dataset_id(dataset)
    # a record of an earlier version: a clone has the same
    return run.holds_the_run() and not _other_records(dataset, run.out)


def is_trusted(dataset: Dataset, record: RunRecord) -> bool:
    """Return whether a record tells the truth about fields: it was made here, or its folder confirms it."""
    run = folder_of(record)
    return is_own(dataset, run) or run.holds_the_run()


def remove_files(dataset: Dataset, run: RunFolder, key: str) -> str:
    """Remove the files of a run that was made here and is shown by nothing else but the record ``key``.

    Returns:
        Why the files stay; empty if they are gone.
    """
    root = Path(run.out)
    if not root.is_dir():
        return ""
    if not is_own(dataset, run):
        return f"the files in {root} stay: they belong to another dataset or run"
    shown = shown_by(dataset, run.out, key)
    if shown:
        return f"the files in {root} stay: {shown} shows them"
    directory = RunDirectory(root)
    begun = (root / "run.json").exists()
    if begun and not run.may_hold_the_run():
        return f"the files in {root} stay: they are of another run"
    remove_partials(root)
    if begun:
        remove_partials(root / EDITS)
        directory.remove_outputs()
    directory.remove_if_empty()
    remove_default_parents(root)
    return ""


def remove_default_parents(root: Path) -> None:
    """Remove the empty folders that :func:`fiftyone_plugin.dataset.labelling.default_out` has named."""
    import fiftyone as fo

    base = Path(fo.config.default_dataset_dir) / METHOD
    for parent in root.parents:
        if parent != base and base not in parent.parents:
            return
        with suppress(OSError):
            parent.rmdir()


# ---------------------------------------------------------------------- who shows files


def shown_by(dataset: Dataset, out: str, key: str = "", *, but: str = "") -> str:
    """Return who shows or records files below a folder, in words; empty if nobody does.

    All datasets of the database are asked, this one included, but for its record ``key`` and its field
    ``but``. The documents are read as they are, so that a damaged dataset is no obstacle.
    """
    from fiftyone.core.odm import get_db_conn

    connection = get_db_conn()
    pattern = {"$regex": f"^(?:{'|'.join(re.escape(start) for start in _spellings(out))})[/\\\\]"}
    own = dataset._dataset._doc.id
    wanted = ("name", "sample_collection_name", "sample_fields", "frame_collection_name", "frame_fields")
    for document in connection.datasets.find({}, dict.fromkeys((*wanted, "app_config.media_fields"), 1)):
        for part in ("sample", "frame"):
            collection = document.get(f"{part}_collection_name")
            paths = list(_paths(document.get(f"{part}_fields")))
            if part == "sample":
                paths += [(name, name) for name in _media_fields(document)]
            if but and document.get("_id") == own and part == "sample":
                paths = [(name, path) for name, path in paths if name != but]
            if not paths or not isinstance(collection, str):
                continue
            found = connection[collection].find_one({"$or": [{path: pattern} for _, path in paths]})
            if found is not None:
                names = [name for name, path in paths if _shows(found, path.split("."), pattern["$regex"])]
                return f"field {(names or ['of a sample'])[0]!r} of dataset {document.get('name')!r}"
    others = _other_records(dataset, out, key)
    return f"a run of dataset {others[0]!r}" if others else ""


def _spellings(out: str) -> list[str]:
    """Return how the folder may be written: as it is, absolute, and without links."""
    ways = (os.path.normpath(out), os.path.abspath(out), os.path.realpath(out))
    return list(dict.fromkeys(ways))


def _paths(declared: object) -> Iterator[tuple[str, str]]:
    """Yield field and path in the documents of all fields that show files."""
    for field in declared if isinstance(declared, list) else []:
        if not isinstance(field, dict) or not field.get("name"):
            continue
        kind = str(field.get("embedded_doc_type") or "").rpartition(".")[2]
        if kind in PATHS_OF:
            yield field["name"], f"{field.get('db_field') or field['name']}.{PATHS_OF[kind]}"


def _media_fields(document: Mapping[str, Any]) -> list[str]:
    """Return the fields that name the media themselves: a mask may be somebody's image."""
    config = document.get("app_config")
    named = config.get("media_fields") if isinstance(config, dict) else None
    return list(dict.fromkeys(["filepath", *(named if isinstance(named, list) else [])]))


def _shows(value: object, path: list[str], pattern: str) -> bool:
    if isinstance(value, list):
        return any(_shows(item, path, pattern) for item in value)
    if not path:
        return isinstance(value, str) and re.match(pattern, value) is not None
    return isinstance(value, dict) and _shows(value.get(path[0]), path[1:], pattern)


def _other_records(dataset: Dataset, out: str, key: str = "") -> list[str]:
    """Return the names of the datasets in which another run has its files in a folder.

    Of this dataset, the record ``key`` does not count; without a key, no record of it does.
    """
    from fiftyone.core.odm import get_db_conn

    connection = get_db_conn()
    own = dataset._dataset._doc.id
    places = [{name: {"$in": _spellings(out)}} for name in ("config.out", "config.pending.replace.out")]
    found = []
    for run in connection.runs.find({"config.method": METHOD, "$or": places}, {"_dataset_id": 1, "key": 1}):
        if run.get("_dataset_id") == own and (not key or run.get("key") == key):
            continue
        owner = connection.datasets.find_one({"_id": run.get("_dataset_id")}, {"name": 1, "runs": 1})
        if owner and run["_id"] in (owner.get("runs") or {}).values():  # else a deletion was cut short
            found.append(owner.get("name"))
    return found


# ---------------------------------------------------------------------- whose labels


def ids_of_run(dataset: Dataset, record: RunRecord) -> list[str]:
    """Return the ids of the samples whose mask lies in the run's folder."""
    folders = _mask_folders([record.out])
    return [sample_id for sample_id, path in _mask_paths(dataset, record.field) if path.startswith(folders)]


def ids_of_others(dataset: Dataset, field: str, outs: Iterable[str], *, own: bool) -> set[str]:
    """Return the ids of the samples whose label no run has written.

    These are labels with a mask in the database, which is the mask also where a file is named beside it, and
    those with a file outside ``outs``, the folders of the runs that fill or filled the field. Where these
    runs were not made in this very dataset (``own``) and not one file lies in the folders, the masks have
    travelled with the dataset, and their paths tell nothing.
    """
    from ..evaluation.fiftyone_masks import with_stored_mask

    if not dataset.has_sample_field(field):
        return set()
    folders, paths = _mask_folders(outs), list(_mask_paths(dataset, field))
    elsewhere = {sample_id for sample_id, path in paths if not path.startswith(folders)}
    travelled = not own and len(elsewhere) == len(paths)
    return with_stored_mask(all_samples(dataset), field) | (set() if travelled else elsewhere)


def detach(dataset: Dataset, field: str, ids: Iterable[str], outs: Iterable[str]) -> None:
    """Let labels with a mask in the database forget the file of a run that is about to go."""
    folders, chosen = _mask_folders(outs), set(ids)
    paths = {i: None for i, path in _mask_paths(dataset, field) if i in chosen and path.startswith(folders)}
    if paths:
        all_samples(dataset).set_values(RunFields(field).path, paths, key_field="id")


def _mask_folders(outs: Iterable[str]) -> tuple[str, ...]:
    return tuple(str(Path(out) / name) + os.sep for out in outs if out for name in ("masks", EDITS))


def _mask_paths(dataset: Dataset, field: str) -> Iterator[tuple[str, str]]:
    if dataset.has_sample_field(field):
        found = zip(*all_samples(dataset).values(["id", RunFields(field).path]), strict=True)
        yield from ((sample_id, path) for sample_id, path in found if path)
