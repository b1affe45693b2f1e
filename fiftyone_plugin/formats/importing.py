"""Masks of exports and of other tools: opened, written to a folder with ``masks/`` and ``classes.json``."""

from __future__ import annotations

import errno
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from ..common.files import is_safe_name, write_json
from ..common.matching import normalise, shared_depth, split_path
from ..common.progress import NullProgress, Progress
from ..common.skipped import Skipped
from ..common.workshop import settle
from ..errors import PseudoMaskError, UsageError
from ..evaluation.folders import mask_files
from ..masks.files import write_mask
from .categories import default_names, read_class_file
from .coco_masks import draw_image
from .coco_reading import LostAnnotation, read_coco
from .cvat import unpack
from .label_studio import is_label_studio, read_label_studio
from .masks import read_ids
from .staging import RECORD, ExportFolder, writing
from .voc import VOID, LabelMap, read_label_map

__all__ = ["ImportResult", "MaskSource", "open_masks", "read_masks"]

LONGEST_NAME = 255  # bytes of a file's name on the usual file systems
COCO_KINDS = ("instances", "stuff", "panoptic")
VOC_FOLDERS = ("SegmentationClass", "SegmentationClassPNG")
LABEL_MAPS = ("labelmap.txt", "class_names.txt")
RECORDED = 10_000  # entries that were left out, in the record
NAME_ERRORS = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}  # a name that this file system does not take


@dataclass
class MaskSource:
    """Masks to import.

    Attributes:
        name: what it is called in messages.
        images: what its masks are called (stems: paths of the images without extension, with ``/``, perhaps
            absolute or leading anywhere) -> name of the image, with its extension where the source knows it.
        names: mask id -> class name.
        read: returns the (H, W) mask ids of a stem; raises ``ImageReadError`` or ``UsageError``.
        paths: stem -> file of the image; whoever knows them may fill them in before anything is read.
        lost: what is in no mask, annotations for example; grows while masks are read.
        held: what has to live as long as the source.
    """

    name: str
    images: dict[str, str]
    names: dict[int, str]
    read: Callable[[str], np.ndarray]
    paths: dict[str, str] = field(default_factory=dict)
    lost: list[Skipped] = field(default_factory=list)
    held: object = None


def open_masks(source: str | Path) -> MaskSource:
    """Find out what a path holds and open it.

    Args:
        source: a COCO file (instances, stuff or panoptic), tasks of Label Studio with brush masks, a folder
            with ``annotations/*.json``, with ``SegmentationClass/`` (VOC, CVAT, labelme) or with ``masks/``,
            a ZIP of such a folder, or a folder of masks.

    Raises:
        UsageError: none of these, or damaged.
    """
    path = Path(source)
    settle(path)
    if path.suffix.lower() == ".json" and path.exists() and not path.is_dir():
        return _open_tasks(path) if is_label_studio(path) else _open_coco(path)
    if path.suffix.lower() == ".zip" and path.is_file():
        unpacked = unpack(path)
        return replace(open_masks(unpacked.name), name=str(path), held=unpacked)
    if not path.is_dir():
        raise UsageError(f"no such file or folder to import: {path}")
    documents = sorted(p for kind in COCO_KINDS for p in path.glob(f"annotations/{kind}*.json"))
    if len(documents) > 1:
        listed = ", ".join(str(p.relative_to(path)) for p in documents)
        raise UsageError(f"{path} holds several COCO files, name the one to import: {listed}")
    if documents:
        return _open_coco(documents[0])
    folders = (path / name for name in VOC_FOLDERS)
    voc = next((folder for folder in folders if folder.is_dir() and mask_files(folder)), None)
    folder = voc or (path / "masks" if (path / "masks").is_dir() else path)
    if folder == path and (path / "data.yaml").is_file() and (path / "labels").is_dir():
        raise UsageError(
            f"{path} is a YOLO data set: its polygons are not read back. Import the masks or the COCO file "
            "that it was made from"
        )
    classes = next((p for p in (path / "classes.json", folder / "classes.json") if p.is_file()), None)
    if classes is not None and voc is None:
        return _open_folder(path, folder, read_class_file(classes)[0], read_ids)
    listed_at = next((path / name for name in LABEL_MAPS if (path / name).is_file()), None)
    label_map = read_label_map(listed_at) if listed_at else LabelMap()
    if label_map.ids:
        return _open_folder(path, folder, label_map.names, label_map.read)
    return _open_folder(path, folder, {}, _read_without_void if voc else read_ids)


def _read_without_void(path: Path) -> np.ndarray:
    mask = read_ids(path)
    return np.where(mask == VOID, 0, mask)


def _open_folder(
    path: Path, folder: Path, names: dict[int, str], read: Callable[[Path], np.ndarray]
) -> MaskSource:
    files = mask_files(folder)
    if not files:
        raise UsageError(f"no masks in {folder}")
    return MaskSource(
        str(path), {stem: stem for stem in files}, names, lambda stem: read(folder / files[stem])
    )


def _open_coco(path: Path) -> MaskSource:
    file = read_coco(path)
    images = {image.name: image for image in file.images}
    named = _by_stem(images)

    def read(stem: str) -> np.ndarray:
        return draw_image(file, images[named[stem]], source.paths.get(stem), source.lost)

    source = MaskSource(str(path), named, file.names, read, lost=file.lost)
    return source


def _open_tasks(path: Path) -> MaskSource:
    tasks = read_label_studio(path)
    named = _by_stem(tasks.results)
    return MaskSource(str(path), named, tasks.names, lambda stem: tasks.draw(named[stem]), lost=tasks.lost)


def _by_stem(names: Iterable[str]) -> dict[str, str]:
    """Return stem -> name of an image; the name itself where another image has the stem."""
    named: dict[str, str] = {}
    for name in names:
        stem = _stem(name)
        named[stem if stem not in named else name] = name
    return named


def _stem(name: str) -> str:
    """Return the path without extension; of an absolute path (images left in their place), the whole path."""
    text = name.replace("\\", "/")
    last = split_path(text)[1][-1]
    suffix = last[last.rindex(".") :] if "." in last[1:] else ""
    return text[: -len(suffix)] if suffix and text.endswith(suffix) else text


@dataclass
class ImportResult:
    """What was read.

    Attributes:
        out: folder with ``masks/`` and ``classes.json``.
        masks: stem of an image -> its mask file.
        names: mask id -> class name.
        skipped: everything that is in no mask, with reasons: masks that could not be read or have no image,
            annotations, entries of a COCO file.
        matched: samples that got a mask, where there is a dataset.
    """

    out: Path
    masks: dict[str, Path] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    matched: int = 0

    @property
    def lost(self) -> list[Skipped]:
        """Annotations that are in no mask: a part of ``skipped``."""
        return [entry for entry in self.skipped if isinstance(entry, LostAnnotation)]


def read_masks(
    source: str | Path | MaskSource,
    out: str | Path,
    *,
    stems: dict[str, str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    dataset_id: str = "",
) -> ImportResult:
    """Read masks into a folder with ``masks/`` and ``classes.json``.

    Args:
        source: see :func:`open_masks`.
        out: the folder; must not exist, or be empty.
        stems: stem in the source -> stem of the file to write; others are left out. ``None``: all, below the
            folder that holds them all where they are absolute, and without drives and ``..``.
        overwrite: replace an earlier import in ``out``.
        progress: where stages report to.
        dataset_id: the FiftyOne dataset that the masks are for, where there is one; kept in the record.

    Raises:
        UsageError: the source is not understood, or ``out`` is taken.
        PseudoMaskError: ``out`` cannot be written, or not one mask could be read.
    """
    opened = source if isinstance(source, MaskSource) else open_masks(source)
    result = ImportResult(Path(out).absolute(), names=opened.names)
    targets = stems if stems is not None else safe_targets(list(opened.images))
    origin = Path(opened.name)
    sources = (origin if origin.is_dir() else origin.parent,)
    with ExportFolder(Path(out), overwrite=overwrite, sources=sources) as folder:
        with (progress or NullProgress()).stage("import", total=len(targets)) as stage:
            ids: set[int] = set()
            for stem, target in targets.items():
                ids |= _import_one(opened, stem, target, folder.path, result)
                stage.update()
        result.skipped += opened.lost
        if not result.masks:
            first = "; ".join(map(str, result.skipped[:5]))
            raise PseudoMaskError(
                f"no mask of {opened.name} could be read. First: {first or 'there is none'}"
            )
        result.names = result.names or default_names(ids)
        class_names = {str(k): v for k, v in result.names.items()}
        write_json(folder.path / "classes.json", class_names, sort_keys=False)
        skipped = [{"image": entry.key, "reason": entry.reason} for entry in result.skipped[:RECORDED]]
        counts = {
            "masks": len(result.masks),
            "skipped": len(result.skipped),
            "annotations_lost": len(result.lost),
        }
        record = {"format": "masks", "imported_from": opened.name, "counts": counts, "skipped": skipped}
        record |= {"dataset_id": dataset_id} if dataset_id else {}
        write_json(folder.path / RECORD, record, sort_keys=False)
        folder.commit()
    return result


def safe_targets(stems: list[str]) -> dict[str, str]:
    r"""Return stem -> relative POSIX path of the file to write, below the folder and no other's.

    ``C:\pics\a`` and ``../../pics/a`` become ``pics/a``; where all are absolute, the folder that holds all is
    left out. Those that would share a file, also where case does not count, get a piece of a hash.
    """
    split = {stem: split_path(stem) for stem in stems}
    absolute = all(anchor for anchor, _ in split.values())
    shared = shared_depth([parts for _, parts in split.values()]) if absolute else 0
    targets = {stem: "/".join(parts[shared:]) for stem, (_, parts) in split.items()}
    users = Counter(map(_plain, targets.values()))
    folders = {str(folder) for target in users for folder in PurePosixPath(target).parents}

    def alone(target: str) -> bool:
        return users[_plain(target)] == 1 and f"{_plain(target)}.png" not in folders

    return {
        stem: target if alone(target) or not target else f"{target}.{_digest(stem)}"
        for stem, target in targets.items()
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _plain(name: str) -> str:
    return normalise(name.casefold())


def _import_one(source: MaskSource, stem: str, target: str, folder: Path, result: ImportResult) -> set[int]:
    """Write one mask, or list it as skipped; return the ids in it."""
    path = folder / "masks" / f"{target}.png"
    try:
        _check_target(target)
        mask = source.read(stem)
        ids = _check_ids(mask, source.names)
    except PseudoMaskError as error:
        result.skipped.append(Skipped(stem, str(error)))
        return set()
    except Exception as error:  # decoders raise anything on damaged files
        result.skipped.append(Skipped(stem, f"cannot be read ({type(error).__name__}: {error})"))
        return set()
    try:
        with writing(path):
            write_mask(path, mask)
    except PseudoMaskError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in NAME_ERRORS:
            reason = f"its name cannot be written here: {error.__cause__.strerror}"
            result.skipped.append(Skipped(stem, reason))
            return set()
        raise
    result.masks[stem] = result.out / path.relative_to(folder)
    return ids


def _check_target(target: str) -> None:
    if not target or not is_safe_name(target):
        raise UsageError("its path leads out of the folder")
    try:
        longest = max(len(os.fsencode(part)) for part in f"{target}.png".split("/"))
    except UnicodeError:
        raise UsageError("its name holds characters that no file's name can hold") from None
    if longest > LONGEST_NAME:
        raise UsageError(f"its name has {longest} bytes; file systems take {LONGEST_NAME}")


def _check_ids(mask: np.ndarray, names: dict[int, str]) -> set[int]:
    """Return the ids; refuse those that cannot be written or have no name, where there are names."""
    ids = {int(i) for i in np.unique(mask)}
    wrong = sorted(i for i in ids if not 0 <= i <= 65_535 or (names and i and i not in names))
    if wrong:
        raise UsageError(f"ids without a name: {', '.join(map(str, wrong[:8]))}")
    return ids
