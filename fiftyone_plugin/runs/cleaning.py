"""Removing what a run wrote, and nothing else.

The lists that say what a run wrote lie in its folder, so a stranger may have written them: every name is
resolved, nothing behind a link is touched, and a file goes only if the run's own list names it or a run
always calls its files so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from ..common.files import inside, is_partial, remove_empty, remove_inside
from ..common.untrusted import read_json
from ..errors import UsageError
from .samples import SampleRow

__all__ = [
    "CALIBRATION",
    "EDITS",
    "FOLDERS",
    "IMAGES",
    "JOURNAL",
    "LOCK",
    "PICTURES",
    "refuse_links",
    "remove_run_files",
    "remove_work",
    "run_files",
]

LOCK, JOURNAL, IMAGES = "lock", "journal.jsonl", "images.json"
EDITS = "edits"  # folder of masks that a person has edited, see fiftyone_plugin.editing
FOLDERS = ("masks", "confidence", "exemplars", "model", EDITS, ".work")
PICTURES = ("contact_sheet.png", "eigenvalues.png")
CALIBRATION = ("calibration.json", "expected_iou.csv", "filtering.png")
"""What `pseudomask evaluate --calibrate` adds to a run."""
MODEL = ("method.json", "arrays.safetensors", "pipeline.json")
WORK = re.compile(
    r"journal\.jsonl|images\.json|stop"
    r"|fit/training\.(pt|partial)"
    r"|memo/[\w-]+/[0-9a-f]{2}/[0-9a-f]{64}\.(npz|partial)"
)
EXEMPLAR = re.compile(r"class_([0-9]{4}|[1-9][0-9]{4})\.jpg")
EDIT = re.compile(r"[0-9]{3,9}")


def run_files(root: Path) -> list[Path]:
    """Return every file that a run writes under a name of its own, but for ``run.json``."""
    return [
        *(root / name for name in (*PICTURES, *CALIBRATION)),
        *(root / "model" / name for name in MODEL),
        *(root / name for name in ("classes.json", "samples.csv")),
    ]


def refuse_links(root: Path) -> None:
    """Refuse a run folder whose parts are links: what a run writes there would land somewhere else.

    The folder itself may be a link, or be reached through links.

    Raises:
        UsageError: one of its own folders, or anything in ``.work``, is a link.
    """
    for name in FOLDERS:
        for path, is_folder in _walk(root / name):
            if path.is_symlink() and (is_folder or name == ".work"):
                raise UsageError(
                    f"{path} is a link: a run writes only below its own folder. Put a folder there instead, "
                    f"or link the whole of {root}"
                )


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield a folder and everything below it, with whether it is a folder; links are not followed."""
    if folder.is_symlink() or folder.is_dir():
        yield folder, True
    if folder.is_symlink():
        return
    for parent, folders, files in os.walk(folder):
        for names, is_folder in ((folders, True), (files, False)):
            for name in names:
                yield Path(parent, name), is_folder


def remove_run_files(root: Path, rows: Iterable[SampleRow]) -> None:
    """Remove the files that a run wrote, and folders that this leaves empty.

    ``run.json``, and before it the lists of masks, go last: what an interruption leaves is found again.

    Args:
        root: folder of the run.
        rows: what the run's table and journal list.
    """
    masks = {row.mask for row in rows if row.mask.endswith(".png")}
    for mask in masks:
        for folder in ("masks", "confidence"):
            _remove(root, f"{folder}/{mask}")
    for path, _ in list(_walk(root / "exemplars")):
        if EXEMPLAR.fullmatch(path.name):
            _remove(root, f"exemplars/{path.name}")
    _remove_edits(root, masks)
    for path in run_files(root):
        _remove(root, path.relative_to(root).as_posix())
    remove_work(root)
    for name in FOLDERS:
        if name != ".work":
            remove_empty(root / name)
    _remove(root, "run.json")


def remove_work(root: Path) -> None:
    """Remove the working files of a run in ``.work``, all but its lock; a person's files there stay."""
    work = root / ".work"
    for path, is_folder in _walk(work):
        name = path.relative_to(work).as_posix()
        if not is_folder and (WORK.fullmatch(name) or is_partial(path.name)):
            _remove(root, f".work/{name}")
    for name in ("memo", "fit"):
        remove_empty(work / name)


def _remove_edits(root: Path, masks: set[str]) -> None:
    """Remove the records of edits and the masks that they changed, see :mod:`fiftyone_plugin.editing.run`.

    Args:
        root: folder of the run.
        masks: names of the run's masks; an edit writes no other.
    """
    folder = root / EDITS
    if folder.is_symlink() or not folder.is_dir():
        return
    for edit in filter(_is_edit, folder.iterdir()):
        for path, _ in list(_walk(edit / "masks")):
            name = path.relative_to(edit / "masks").as_posix()
            if name in masks or is_partial(path.name):
                _remove(root, f"{EDITS}/{edit.name}/masks/{name}")
        _remove(root, f"{EDITS}/{edit.name}/edit.json")
    _remove(root, f"{EDITS}/{LOCK}")


def _is_edit(folder: Path) -> bool:
    """Tell whether an edit wrote this folder: its record has the folder's number."""
    if not EDIT.fullmatch(folder.name) or folder.is_symlink():
        return False
    with suppress(UsageError):
        record = read_json(folder / "edit.json", what="the record of an edit")
        return isinstance(record, dict) and record.get("number") == int(folder.name) and "kind" in record
    return False


def _remove(root: Path, name: str) -> None:
    """Remove one file below the run's folder, unless a folder on the way to it is a link."""
    path = inside(root, name)
    if path is None:
        return
    above = path.relative_to(root).parents  # the last of them is the run's folder, which may be a link
    if not any((root / folder).is_symlink() for folder in list(above)[:-1]):
        remove_inside(root, name)
