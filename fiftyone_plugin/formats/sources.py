"""Sources of an export on disk: the folder of a run, or any folder with images/ and masks/."""

from __future__ import annotations

import csv
import os
import posixpath
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..common.files import is_safe_name
from ..common.matching import match_names
from ..common.remote import exists, folder_of, join_url, listing, read_object, url_of
from ..common.skipped import Skipped
from ..common.text import from_spreadsheet_cell
from ..common.workshop import settle
from ..errors import UsageError
from ..evaluation.folders import mask_files
from ..images.listing import list_images
from ..masks.rules import MaskRules
from ..runs.folder import RunDirectory
from ..runs.record import RunDocument
from ..runs.samples import read_cells
from .base import ExportItem, ExportSource, known_quality
from .categories import read_class_file

__all__ = ["folder_source"]

CLASSES = "classes.json"
COLUMNS = ("image", "mask", "status", "error", "quality")


def folder_source(root: str | Path, *, images: str | Path | None = None) -> ExportSource:
    """Read what ``label`` wrote, or any folder with images/ and masks/ and perhaps instances/.

    In such a folder an image and its mask have the same path below images/ and masks/, but for the extension
    and the form of Unicode; linked folders are followed;
    class names come from ``classes.json`` where there is one, tags are the folders of an image's path
    (``images/train/1.jpg`` has the tag ``train``).

    Args:
        root: the folder.
        images: where the images are, if neither images/ nor the run's record says so.

    Raises:
        UsageError: no masks or images, or their place is not known.
    """
    folder = folder_of(root)
    if (url := url_of(folder)) is None:
        settle(folder)
        return _folder_source(folder, folder, images)
    with tempfile.TemporaryDirectory(prefix="pseudomask-records-") as records:
        for name in (CLASSES, "run.json", "samples.csv"):
            if exists(join_url(url, name)):
                (Path(records) / name).write_bytes(read_object(join_url(url, name)))
        return _folder_source(folder, Path(records), images)


def _folder_source(folder: Path, records: Path, images: str | Path | None) -> ExportSource:
    """Do as :func:`folder_source`, with the records of a run in a folder of this machine."""
    if not _is_folder(folder / "masks"):
        raise UsageError(f"{folder} has no folder masks/: give the output of `label`, or images/ and masks/")
    names, groups = read_class_file(records / CLASSES) if (records / CLASSES).is_file() else (None, {})
    run = RunDirectory(records).read_run() if (records / "run.json").is_file() else None
    if run is not None and not run.is_complete:
        raise UsageError(
            f"the run in {folder} is not finished; resume it first: pseudomask label ... --resume"
        )
    table = _read_table(records / "samples.csv") if run is not None else None
    image_root = _image_root(folder, images, run)
    skipped: list[Skipped] = []
    entries = _from_table(table, skipped) if table else _from_folders(folder, image_root, skipped)
    if not entries:
        reason = f", e.g. {skipped[0]}" if skipped else ""
        raise UsageError(f"{folder} has no image with a mask{reason}")
    return ExportSource(
        name=folder.name if url_of(folder) else folder.resolve().name,
        items=lambda: (entry.item(str(folder), str(image_root)) for entry in entries),
        total=len(entries),
        names=names,
        rules=MaskRules.of(names),
        supercategories=groups,
        folders=tuple(path for path in (folder, image_root) if url_of(path) is None),
        skipped=skipped,
        provenance={name: getattr(run, name) for name in ("settings", "versions", "counts")} if run else {},
    )


class _Entry(NamedTuple):
    """An item without what can be put together when it is needed: there may be many."""

    key: str
    stem: str
    mask: str
    instances: str | None = None
    quality: float | None = None
    confident: bool = True

    def item(self, folder: str, image_root: str) -> ExportItem:
        mask = self.mask.split("/")
        return ExportItem(
            self.key,
            self.stem,
            os.path.join(image_root, *self.key.split("/")),
            os.path.join(folder, "masks", *mask),
            self.instances and os.path.join(folder, "instances", *self.instances.split("/")),
            PurePosixPath(self.key).parts[:-1],
            self.quality,
            confidence=os.path.join(folder, "confidence", *mask) if self.confident else None,
        )


def _image_root(folder: Path, images: str | Path | None, run: RunDocument | None) -> Path:
    for candidate in (images, folder / "images", run.images_root if run else None):
        if candidate is None:
            continue
        if _is_folder(found := folder_of(candidate)):
            return found if url_of(found) is not None else Path(os.path.abspath(found))
        if candidate == images:
            raise UsageError(f"the folder of images does not exist: {images}")
    raise UsageError(f"where the images of {folder} are is not known; name their folder (--images-dir DIR)")


def _is_folder(folder: Path) -> bool:
    """Tell whether there is a folder; in a store, whether anything is below the address."""
    url = url_of(folder)
    return folder.is_dir() if url is None else next(iter(listing(url)), None) is not None


def _read_table(path: Path) -> list[dict[str, str]]:
    """Read the columns of a run's table that matter here; other columns may come and go."""
    try:
        rows = [
            {name: from_spreadsheet_cell(row.get(name) or "") for name in COLUMNS} for row in read_cells(path)
        ]
    except UsageError:  # a ValueError too
        raise
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"cannot read the run's table {path}: {error}") from error
    if not rows or not all(row["image"] for row in rows):
        raise UsageError(f"{path} is not the table of a run")
    return rows


def _from_table(rows: Sequence[dict[str, str]], skipped: list[Skipped]) -> list[_Entry]:
    entries = []
    for row in rows:
        key, mask = row["image"], row["mask"]
        if not mask:
            skipped.append(Skipped(key, f"not labelled: {row['error'] or row['status']}"))
        elif not (is_safe_name(key) and is_safe_name(mask)):
            skipped.append(Skipped(key, "its path leads out of the folder"))
        else:
            quality = None
            with suppress(ValueError):  # empty, or no number
                quality = known_quality(float(row["quality"]))
            entries.append(_Entry(key, mask.removesuffix(".png"), mask, quality=quality))
    return entries


def _from_folders(folder: Path, image_root: Path, skipped: list[Skipped]) -> list[_Entry]:
    masks = mask_files(folder / "masks")
    instances = mask_files(folder / "instances") if _is_folder(folder / "instances") else {}
    items = list_images(url_of(image_root) or image_root)
    # the mask of a.jpg is a.png, or what a run calls it beside an a.tif, or named after all of it
    names = [
        (name, item.key)
        for item in items
        for name in {item.mask_name.removesuffix(".png"), posixpath.splitext(item.key)[0], item.key}
    ]
    matches = match_names(masks, names, whole=True)
    mask_of = {key: name for name, key in matches.found.items()}
    instances_of = {key: name for name, key in match_names(instances, names, whole=True).found.items()}
    confident = _is_folder(folder / "confidence")
    entries = []
    for item in items:
        name, given = mask_of.get(item.key), instances_of.get(item.key)
        if name is None:
            skipped.append(Skipped(item.key, "no mask"))
            continue
        instance = instances[given] if given is not None else None
        stem = item.mask_name.removesuffix(".png")
        entries.append(_Entry(item.key, stem, masks[name], instance, confident=confident))
    for name, reason in matches.left.items():
        shown = "no image" if reason == "no image of this name" else reason
        skipped.append(Skipped(f"masks/{name}", shown))
    return entries
