"""Removing what a run wrote, and nothing else.

The lists that say what a run wrote lie in its folder, so a stranger may have written them: every name is
resolved, nothing behind a link is touched, and a file goes only if the run's own list names it or a run
always calls its files so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from ..common.files import inside, is_below, is_partial, remove_empty, remove_file
from ..common.untrusted import read_json
from ..errors import UsageError
from .samples import SampleRow

__all__ = ["CALIBRATION", "EDITS", "refuse_links", "remove_run_files", "remove_work", "run_files"]

LOCK, JOURNAL, IMAGES = "lock", "journal.jsonl", "images.json"
EDITS = "edits"  # folder of masks that a person has edited, see fiftyone_plugin.dataset.editing
TOKENS = "tokens"  # folder of what labels images of the fit anew, without the network
FOLDERS = ("masks", "confidence", "exemplars", "model", TOKENS, EDITS, ".work")
PICTURES = ("contact_sheet.png", "dendrogram.png", "eigenvalues.png")
CALIBRATION = ("calibration.json", "expected_iou.csv", "filtering.png")
"""What `pseudomask evaluate --calibrate` adds to a run."""
MODEL = ("method.json", "arrays.safetensors", "pipeline.json")
WORK = re.compile(
    r"journal\.jsonl|images\.json|progress\.json|stop"
    r"|fit/training\.(pt|partial)"
    r"|fit/regions-[0-9a-f]{16}-[0-9]{5}\.npz"
    r"|memo/[\w-]+/[0-9a-f]{2}/[0-9a-f]{64}\.(npz|partial)"
)
TOKEN_FILE = re.compile(r"[\w-]+/[0-9a-f]{2}/[0-9a-f]{64}\.npz")
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
        for path in _links_below(root / name, files=name == ".work"):
            raise UsageError(
                f"{path} is a link: a run writes only below its own folder. Put a folder there instead, "
                f"or link the whole of {root}"
            )


def _links_below(folder: Path, *, files: bool) -> Iterator[str]:
    """Yield a folder and the folders below it that are links, and with ``files`` the files that are."""
    if os.path.islink(folder):  # unlike Path.is_symlink() it takes names that are too long
        yield str(folder)
        return
    if not os.path.isdir(folder):  # nor where the file system refuses the name: making it says why
        return
    for parent, folders, names in os.walk(folder):
        for name in [*folders, *names] if files else folders:
            path = os.path.join(parent, name)
            if os.path.islink(path):
                yield path


def _files(folder: Path) -> list[str]:
    """List the files below a folder by relative POSIX path; links are not followed."""
    if folder.is_symlink():
        return []
    found = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return [path.relative_to(folder).as_posix() for path in found]


def remove_run_files(root: Path, rows: Iterable[SampleRow]) -> None:
    """Remove the files that a run wrote, and folders that this leaves empty.

    ``run.json``, and before it the lists of masks, go last: what an interruption leaves is found again. The
    rows are those of the run's table and journal.
    """
    masks = {row.mask for row in rows if row.mask.endswith(".png")}
    remove = _remover(root)
    for mask in sorted(masks):
        for folder in ("masks", "confidence"):
            remove(f"{folder}/{mask}")
    for folder, pattern in (("exemplars", EXEMPLAR), (TOKENS, TOKEN_FILE)):
        for name in filter(pattern.fullmatch, _files(root / folder)):
            remove(f"{folder}/{name}")
    _remove_edits(root / EDITS, remove, masks)
    for path in run_files(root):
        remove(path.relative_to(root).as_posix())
    remove_work(root)
    for name in FOLDERS:
        if name != ".work":
            remove_empty(root / name)
    remove("run.json")


def remove_work(root: Path) -> None:
    """Remove the working files of a run in ``.work``, all but its lock; a person's files there stay."""
    remove = _remover(root)
    for name in _files(root / ".work"):
        if WORK.fullmatch(name) or is_partial(name.rpartition("/")[2]):
            remove(f".work/{name}")
    for name in ("memo", "fit"):
        remove_empty(root / ".work" / name)


def _remove_edits(folder: Path, remove: Callable[[str], None], masks: set[str]) -> None:
    """Remove the records of edits and the masks that they changed, see :mod:`..dataset.editing.run`.

    An edit writes masks of the run's names, and no other.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    for edit in filter(_is_edit, sorted(folder.iterdir())):
        for name in _files(edit / "masks"):
            if name in masks or is_partial(name.rpartition("/")[2]):
                remove(f"{EDITS}/{edit.name}/masks/{name}")
        remove(f"{EDITS}/{edit.name}/edit.json")
    remove(f"{EDITS}/{LOCK}")


def _is_edit(folder: Path) -> bool:
    """Tell whether an edit wrote this folder: its record has the folder's number."""
    if not EDIT.fullmatch(folder.name) or folder.is_symlink():
        return False
    with suppress(UsageError):
        record = read_json(folder / "edit.json", what="the record of an edit")
        return isinstance(record, dict) and record.get("number") == int(folder.name) and "kind" in record
    return False


def _remover(root: Path) -> Callable[[str], None]:
    """Return what removes a file or link below a run's folder by its name.

    Nothing goes where a folder on the way to it is a link or leads out; each of them is looked at once.
    """

    @cache
    def is_own(folder: Path) -> bool:
        if folder == root:
            return True
        name = (folder / "x").relative_to(root).as_posix()
        return not folder.is_symlink() and is_own(folder.parent) and inside(root, name) is not None

    def remove(name: str) -> None:
        if is_below(name) and is_own((root / name).parent):
            remove_file(root / name)

    return remove
