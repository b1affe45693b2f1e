"""What an earlier import has put into a field of a dataset, to be replaced by the next one."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
        samples: ids of the samples.
        masks: folder of an import -> the files of its masks that the field names.
        foreign: ids of the samples whose label is of other origin, such as a person's own.
    """

    samples: frozenset[str]
    masks: dict[Path, list[Path]]
    foreign: frozenset[str]

    @classmethod
    def of(cls, dataset: fo.Dataset, field: str) -> EarlierImport:
        """Look at the labels of a field; none if there is no such field."""
        if not dataset.has_sample_field(field):
            return cls(frozenset(), {}, frozenset())
        samples, folders = set(), dict[Path, Path | None]()
        masks = defaultdict[Path, list[Path]](list)
        labels = all_samples(dataset).exists(field)
        rows = list(zip(*labels.values(["id", f"{field}.mask_path"]), strict=True))
        for sample_id, text in rows:
            if text and (folder := _folder_of(Path(text), folders)) is not None:
                samples.add(sample_id)
                masks[folder].append(Path(text))
        return cls(frozenset(samples), masks, frozenset(id_ for id_, _ in rows) - samples)

    def remove_files(self, dataset: fo.Dataset, new: Path) -> None:
        """Remove the files of replaced imports that nothing shows any more; a person's own files stay.

        So does the folder of the new import.
        """
        for folder, paths in self.masks.items():
            # a clone shows what an import into another dataset wrote
            ours = _record(folder).get("dataset_id") == dataset_id(dataset)
            if os.path.realpath(folder) == os.path.realpath(new) or not ours:
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
        if parent.name == "masks":
            if parent not in known:
                known[parent] = parent.parent if "imported_from" in _record(parent.parent) else None
            return known[parent]
    return None


def _record(folder: Path) -> dict[str, object]:
    if folder.is_symlink() or (folder / "masks").is_symlink():
        return {}
    with suppress(UsageError, OSError):
        record = read_json(folder / RECORD, what="the record of an import")
        return record if isinstance(record, dict) else {}
    return {}
