"""Fields that imports have filled: which folders their masks are in, and when those folders may go."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..common.files import remove_empty, remove_inside
from ..common.untrusted import read_json
from ..errors import UsageError
from ..left_out import EXPORT_RECORD
from ..run_keys import METHOD
from ..view_check import all_samples
from .ownership import remove_default_parents, shown_by

__all__ = ["check_replaceable", "import_folders", "import_of", "remove_import"]

OTHER = "choose another name"


def import_of(path: str | Path) -> Path | None:
    """Return the folder of the import that wrote a mask file; ``None`` if no import did."""
    for folder in Path(path).parents:
        if folder.name != "masks":
            continue
        try:
            record = read_json(folder.parent / EXPORT_RECORD, what="the record of an import")
        except UsageError:
            continue
        if isinstance(record, dict) and "imported_from" in record:
            return folder.parent
    return None


def import_folders(dataset: Any, field: str) -> dict[Path, list[str]]:
    """Return the folders of the imports that fill a field, each with the mask files that the field shows.

    Raises:
        UsageError: the field holds masks that no import has put there: they would be lost.
    """
    samples = all_samples(dataset)
    paths = {path for path in samples.values(f"{field}.mask_path") if path}
    in_database = samples.exists(field).count() - sum(map(bool, samples.values(f"{field}.mask_path")))
    homes: dict[Path, Path | None] = {}
    folders: dict[Path, list[str]] = {}
    for path in sorted(paths):
        parent = Path(path).parent
        if parent not in homes:
            homes[parent] = import_of(path)
        home = homes[parent]
        if home is None:
            raise UsageError(f"{field!r} was not filled by an import (e.g. {path}): {OTHER}")
        folders.setdefault(home, []).append(path)
    if in_database > 0:
        raise UsageError(f"{field!r} was not filled by an import ({in_database} masks in no file): {OTHER}")
    return folders


def check_replaceable(dataset: Any, field: str, folder: Path) -> None:
    """Refuse to replace the masks in a folder while something else than ``field`` shows them.

    Raises:
        UsageError: another field, dataset or run does.
    """
    shown = shown_by(dataset, str(folder), "", but=field) if folder.is_dir() else ""
    if shown:
        raise UsageError(
            f"the masks in {folder} cannot be replaced, {shown} shows them: choose another folder"
        )


def remove_import(dataset: Any, folder: Path, masks: Iterable[str]) -> None:
    """Remove an earlier import that nothing shows any more; one in a folder that a person named stays.

    Args:
        dataset: the dataset.
        folder: the folder of the import.
        masks: the mask files that its field showed.
    """
    import fiftyone as fo

    base = Path(fo.config.default_dataset_dir) / METHOD
    if base not in folder.parents or shown_by(dataset, str(folder), ""):
        return
    names = [Path(mask).relative_to(folder).as_posix() for mask in masks]
    for name in (*names, "classes.json", EXPORT_RECORD):
        remove_inside(folder, name)
    remove_empty(folder)
    remove_default_parents(folder)
