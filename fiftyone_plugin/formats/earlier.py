"""What an earlier import has put into a field of a dataset, to be replaced by the next one."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.files import remove_empty, remove_inside
from ..common.untrusted import read_json
from ..dataset.database import dataset_id
from ..dataset.ownership import shown_by
from ..errors import UsageError
from ..images.listing import all_samples
from .staging import RECORD

if TYPE_CHECKING:
    import fiftyone as fo


__all__ = ["EarlierImport"]


@dataclass(frozen=True)
class EarlierImport:
    """Labels of a field whose masks an import has written, and their files.

    Attributes:
        field: the field.
        samples: ids of the samples.
        masks: folder of an import -> the files of its masks that the field names.
        foreign: ids of the samples whose label is of other origin, such as a person's own.
    """

    field: str
    samples: frozenset[str]
    masks: dict[Path, tuple[Path, ...]]
    foreign: frozenset[str]

    @classmethod
    def of(cls, dataset: fo.Dataset, field: str) -> EarlierImport:
        """Look at the labels of a field; none if there is no such field."""
        if not dataset.has_sample_field(field):
            return cls(field, frozenset(), {}, frozenset())
        samples, folders = set(), dict[Path, Path | None]()
        masks: dict[Path, list[Path]] = {}
        labels = all_samples(dataset).exists(field)
        rows = list(zip(*labels.values(["id", f"{field}.mask_path"]), strict=True))
        for sample_id, text in rows:
            path = Path(text) if text else None
            folder = _folder_of(path, folders) if path is not None else None
            if folder is not None and path is not None:
                samples.add(sample_id)
                masks.setdefault(folder, []).append(path)
        found = {folder: tuple(paths) for folder, paths in masks.items()}
        foreign = frozenset(id_ for id_, _ in rows) - samples
        return cls(field, frozenset(samples), found, foreign)

    def remove_files(self, dataset: fo.Dataset, new: Path) -> None:
        """Remove the files of replaced imports that nothing shows any more; a person's own files stay.

        Args:
            dataset: the dataset, whose field shows them no more.
            new: folder of the new import, which stays.
        """
        for folder, paths in self.masks.items():
            if os.path.realpath(folder) == os.path.realpath(new) or not _is_of(dataset, folder):
                continue
            if shown_by(dataset, str(folder)):
                continue
            for path in {*paths, folder / "classes.json", folder / RECORD}:
                remove_inside(folder, path.relative_to(folder).as_posix())
            remove_empty(folder / "masks")
            with suppress(OSError):  # a person keeps something there
                folder.rmdir()
                folder.parent.rmdir()


def _folder_of(path: Path, known: dict[Path, Path | None]) -> Path | None:
    """Return the folder of the import that wrote a mask, ``None`` if no import did."""
    for parent in path.parents:
        if parent.name != "masks":
            continue
        if parent not in known:
            known[parent] = parent.parent if _is_import(parent.parent) else None
        return known[parent]
    return None


def _is_import(folder: Path) -> bool:
    return "imported_from" in _record(folder)


def _is_of(dataset: fo.Dataset, folder: Path) -> bool:
    """Return whether an import into this very dataset wrote the folder; a clone shows it too."""
    return _record(folder).get("dataset_id") == dataset_id(dataset)


def _record(folder: Path) -> dict[str, Any]:
    if folder.is_symlink() or (folder / "masks").is_symlink():
        return {}
    with suppress(UsageError, OSError):
        record = read_json(folder / RECORD, what="the record of an import")
        return record if isinstance(record, dict) else {}
    return {}
