"""Exports of this package and of other tools, read back as masks: plain, VOC, COCO in all its kinds."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..common.workshop import settle
from ..errors import ImageReadError, PseudoMaskError, UsageError
from ..evaluation.folders import read_mask
from ..images import MAX_PIXELS
from ..progress import NullProgress, Progress
from ..rundir import write_json, write_mask
from .categories import default_names, read_class_file
from .coco import segmentation_rle
from .items import Skipped
from .panoptic import rgb_to_id
from .sources import mask_files
from .staging import RECORD, ExportFolder, is_safe_name, writing

__all__ = ["ImportResult", "MaskSource", "open_masks", "read_masks"]

COCO_KINDS = ("instances", "stuff", "panoptic")


@dataclass
class MaskSource:
    """Masks to import.

    Attributes:
        name: what it is called in messages.
        stems: relative POSIX paths of the images without extension.
        names: mask id -> class name.
        read: returns the (H, W) mask ids of a stem; raises ``ImageReadError`` or ``UsageError``.
    """

    name: str
    stems: list[str]
    names: dict[int, str]
    read: Callable[[str], np.ndarray]


@dataclass
class ImportResult:
    """What was read.

    Attributes:
        out: folder with ``masks/`` and ``classes.json``.
        masks: stem of an image -> its mask file.
        names: mask id -> class name.
        skipped: masks that could not be read, with reasons.
        matched: samples that got a mask, where there is a dataset.
    """

    out: Path
    masks: dict[str, Path] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    matched: int = 0


def open_masks(source: str | Path) -> MaskSource:
    """Find out what a path holds and open it.

    Args:
        source: a COCO file (instances, stuff or panoptic), a folder with ``annotations/*.json``, with
            ``SegmentationClass/`` (VOC) or with ``masks/``, or a folder of masks.

    Raises:
        UsageError: none of these, or damaged.
    """
    path = Path(source)
    settle(path)
    if path.is_file() and path.suffix.lower() == ".json":
        return _open_coco(path)
    if not path.is_dir():
        raise UsageError(f"no such file or folder to import: {path}")
    documents = sorted(p for kind in COCO_KINDS for p in path.glob(f"annotations/{kind}*.json"))
    if len(documents) > 1:
        listed = ", ".join(str(p.relative_to(path)) for p in documents)
        raise UsageError(f"{path} holds several COCO files, name the one to import: {listed}")
    if documents:
        return _open_coco(documents[0])
    if (path / "SegmentationClass").is_dir():
        return _open_folder(path, path / "SegmentationClass", _voc_names(path / "labelmap.txt"), void=255)
    folder = path / "masks" if (path / "masks").is_dir() else path
    class_file = next((p for p in (path / "classes.json", folder / "classes.json") if p.is_file()), None)
    names = read_class_file(class_file)[0] if class_file else {}
    return _open_folder(path, folder, names)


def _open_folder(path: Path, folder: Path, names: dict[int, str], void: int | None = None) -> MaskSource:
    files = mask_files(folder)
    if not files:
        raise UsageError(f"no masks in {folder}")

    def read(stem: str) -> np.ndarray:
        mask = read_mask(folder / files[stem])
        # void has no class; an id of that value that has a name is one
        return np.where(mask == void, 0, mask) if void is not None and void not in names else mask

    return MaskSource(str(path), list(files), names, read)


def _voc_names(path: Path) -> dict[int, str]:
    if not path.is_file():
        return {}
    rows = [row for row in path.read_text(encoding="utf-8").splitlines() if row and not row.startswith("#")]
    return {i: row.split(":")[0] for i, row in enumerate(rows) if i > 0}


# ---------------------------------------------------------------------- COCO


def _open_coco(path: Path) -> MaskSource:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        images = {entry["id"]: entry for entry in document["images"]}
        categories = {entry["id"]: entry for entry in document["categories"]}
        annotations: dict[Any, list[Any]] = defaultdict(list)
        for entry in document["annotations"]:
            annotations[entry["image_id"]].append(entry)
        ids = _mask_ids(categories)
        names = {ids[key]: str(entry["name"]) for key, entry in categories.items()}
        stems: dict[str, Any] = {}
        for image_id, entry in images.items():
            stem = _stem(entry)
            stems[stem if stem not in stems else entry["file_name"]] = image_id
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is not a COCO file of images and annotations ({error!r})") from error

    def read(stem: str) -> np.ndarray:
        image = images[stems[stem]]
        entries = annotations.get(stems[stem], [])
        try:
            if any("segments_info" in entry for entry in entries):
                return _panoptic_mask(path, image, entries, ids)
            return _instance_mask(image, entries, ids)
        except (KeyError, TypeError) as error:
            raise UsageError(f"a malformed annotation ({error!r})") from error

    return MaskSource(str(path), list(stems), names, read)


def _stem(image: dict[str, Any]) -> str:
    """Return the path without extension; of an absolute path (images left in their place), the whole path."""
    return PurePosixPath(image["file_name"].replace("\\", "/")).with_suffix("").as_posix()


def _mask_ids(categories: dict[Any, dict[str, Any]]) -> dict[Any, int]:
    """Return category id -> mask id: ``class_id`` where this package wrote it, else the category's id."""
    ids = {key: int(entry.get("class_id", key)) for key, entry in categories.items()}
    plain = {key: int(key) for key in categories}
    for candidate in (ids, plain):
        values = list(candidate.values())
        if len(set(values)) == len(values) and all(0 < value <= 65_535 for value in values):
            return candidate
    return {key: number for number, key in enumerate(sorted(categories), 1)}


def _instance_mask(image: dict[str, Any], entries: list[Any], ids: dict[Any, int]) -> np.ndarray:
    """Draw annotations, large ones first, so that small ones on top of them stay visible."""
    from pycocotools import mask as coco_mask

    height, width = int(image["height"]), int(image["width"])
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise UsageError(f"an image of {width} x {height} pixels")
    rles = [segmentation_rle(entry["segmentation"], height, width) for entry in entries]
    areas = [int(coco_mask.area(rle)) for rle in rles]  # a list of more than 255 overflows in pycocotools
    mask = np.zeros((height, width), np.uint16)
    for index in sorted(range(len(rles)), key=lambda i: -areas[i]):
        x, y, w, h = coco_mask.toBbox(rles[index]).astype(int)
        inside = coco_mask.decode([rles[index]])[y : y + h, x : x + w, 0].astype(bool)
        mask[y : y + h, x : x + w][inside] = ids[entries[index]["category_id"]]
    return mask


def _panoptic_mask(path: Path, image: dict[str, Any], entries: list[Any], ids: dict[Any, int]) -> np.ndarray:
    from PIL import Image

    (entry,) = entries
    name = entry["file_name"]
    if not is_safe_name(name):
        raise UsageError(f"the PNG's name leads out of its folder: {name!r}")
    png = path.with_suffix("") / name
    try:
        with Image.open(png) as opened:
            segments = rgb_to_id(np.asarray(opened.convert("RGB")))
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageReadError(png, f"cannot be read ({error})") from error
    found, inverse = np.unique(segments, return_inverse=True)
    classes = {int(info["id"]): ids[info["category_id"]] for info in entry["segments_info"]}
    values = np.array([classes.get(int(value), 0) for value in found], np.uint16)
    return values[inverse.reshape(segments.shape)]


# ---------------------------------------------------------------------- to a folder


def read_masks(
    source: str | Path | MaskSource,
    out: str | Path,
    *,
    stems: dict[str, str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ImportResult:
    """Read masks into a folder with ``masks/`` and ``classes.json``.

    Args:
        source: see :func:`open_masks`.
        out: the folder; must not exist, or be empty.
        stems: stem in the source -> stem of the file to write; others are left out. ``None``: all, as they
            are.
        overwrite: replace an earlier import in ``out``.
        progress: where stages report to.

    Raises:
        UsageError: the source is not understood, or ``out`` is taken.
        PseudoMaskError: ``out`` cannot be written, or not one mask could be read.
    """
    opened = source if isinstance(source, MaskSource) else open_masks(source)
    result = ImportResult(Path(out).absolute(), names=opened.names)
    targets = stems if stems is not None else _relative(opened.stems)
    origin = Path(opened.name)
    sources = (origin if origin.is_dir() else origin.parent,)
    with ExportFolder(Path(out), overwrite=overwrite, sources=sources) as folder:
        with (progress or NullProgress()).stage("import", total=len(targets)) as stage:
            ids: set[int] = set()
            for stem, target in targets.items():
                ids |= _import_one(opened, stem, target, folder.path, result)
                stage.update()
        if not result.masks:
            first = "; ".join(f"{entry.key}: {entry.reason}" for entry in result.skipped[:5])
            raise PseudoMaskError(
                f"no mask of {opened.name} could be read. First: {first or 'there is none'}"
            )
        result.names = result.names or default_names(ids)
        class_names = {str(k): v for k, v in result.names.items()}
        write_json(folder.path / "classes.json", class_names, sort_keys=False)
        write_json(folder.path / RECORD, _record(opened, result), sort_keys=False)
        folder.commit()
    return result


def _relative(stems: list[str]) -> dict[str, str]:
    """Return stem -> stem of the file; absolute ones become relative to the folder that holds them all."""
    if not stems or not all(os.path.isabs(stem) for stem in stems):
        return {stem: stem for stem in stems}
    parents = [PurePosixPath(stem).parent for stem in stems]
    root = os.path.commonpath(parents) if len({parent.anchor for parent in parents}) == 1 else ""
    return {stem: PurePosixPath(stem).relative_to(root or "/").as_posix() for stem in stems}


def _import_one(source: MaskSource, stem: str, target: str, folder: Path, result: ImportResult) -> set[int]:
    """Write one mask, or list it as skipped; return the ids in it."""
    try:
        if not is_safe_name(target):
            raise UsageError("its path leads out of the folder")
        mask = source.read(stem)
        ids = _check_ids(mask, source.names)
    except PseudoMaskError as error:
        result.skipped.append(Skipped(stem, str(error)))
        return set()
    except Exception as error:  # decoders raise anything on damaged files
        result.skipped.append(Skipped(stem, f"cannot be read ({type(error).__name__}: {error})"))
        return set()
    name = f"{target}.png"
    with writing(folder / "masks" / name):
        write_mask(folder / "masks" / name, mask)
    result.masks[stem] = result.out / "masks" / name
    return ids


def _check_ids(mask: np.ndarray, names: dict[int, str]) -> set[int]:
    """Return the ids; refuse those that cannot be written or have no name, where there are names."""
    ids = {int(i) for i in np.unique(mask)}
    wrong = sorted(i for i in ids if not 0 <= i <= 65_535 or (names and i and i not in names))
    if wrong:
        raise UsageError(f"ids without a name: {', '.join(map(str, wrong[:8]))}")
    return ids


def _record(source: MaskSource, result: ImportResult) -> dict[str, Any]:
    return {
        "format": "masks",
        "imported_from": source.name,
        "counts": {"masks": len(result.masks), "skipped": len(result.skipped)},
        "skipped": [{"image": entry.key, "reason": entry.reason} for entry in result.skipped],
    }
