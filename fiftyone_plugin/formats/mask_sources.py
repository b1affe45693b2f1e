"""What can be imported: exports of this package and of other tools, opened and not yet read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..common.matching import split_path
from ..common.skipped import Skipped
from ..common.workshop import settle
from ..errors import UsageError
from .categories import read_class_file
from .coco_masks import draw_image
from .coco_reading import CocoImage, read_coco
from .label_maps import VOID, LabelMap, read_ids, read_label_map
from .sources import mask_files

__all__ = ["MaskSource", "open_masks"]

COCO_KINDS = ("instances", "stuff", "panoptic")
VOC_FOLDERS = ("SegmentationClass", "SegmentationClassPNG")
LABEL_MAPS = ("labelmap.txt", "class_names.txt")


@dataclass
class MaskSource:
    """Masks to import.

    Attributes:
        name: what it is called in messages.
        stems: what its masks are called: paths of the images without extension, with ``/``. They may be
            absolute, or lead anywhere.
        names: mask id -> class name.
        read: returns the (H, W) mask ids of a stem; raises ``ImageReadError`` or ``UsageError``.
        images: stem -> name of the image, with its extension where the source knows it.
        paths: stem -> file of the image; whoever knows them may fill them in before anything is read.
        lost: what is in no mask, annotations for example; grows while masks are read.
    """

    name: str
    stems: list[str]
    names: dict[int, str]
    read: Callable[[str], np.ndarray]
    images: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    lost: list[Skipped] = field(default_factory=list)


def open_masks(source: str | Path) -> MaskSource:
    """Find out what a path holds and open it.

    Args:
        source: a COCO file (instances, stuff or panoptic), a folder with ``annotations/*.json``, with
            ``SegmentationClass/`` (VOC, CVAT, labelme) or with ``masks/``, or a folder of masks.

    Raises:
        UsageError: none of these, or damaged.
    """
    path = Path(source)
    settle(path)
    if path.suffix.lower() == ".json" and path.exists() and not path.is_dir():
        return _open_coco(path)
    if not path.is_dir():
        raise UsageError(f"no such file or folder to import: {path}")
    documents = sorted(p for kind in COCO_KINDS for p in path.glob(f"annotations/{kind}*.json"))
    if len(documents) > 1:
        listed = ", ".join(str(p.relative_to(path)) for p in documents)
        raise UsageError(f"{path} holds several COCO files, name the one to import: {listed}")
    if documents:
        return _open_coco(documents[0])
    voc = next(
        (path / name for name in VOC_FOLDERS if (path / name).is_dir() and mask_files(path / name)), None
    )
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
    images = {stem: stem for stem in files}
    return MaskSource(str(path), list(files), names, lambda stem: read(folder / files[stem]), images)


def _open_coco(path: Path) -> MaskSource:
    file = read_coco(path)
    images: dict[str, CocoImage] = {}
    for image in file.images:
        stem = _stem(image.name)
        images[stem if stem not in images else image.name] = image
    source = MaskSource(
        str(path),
        list(images),
        file.names,
        lambda stem: draw_image(file, images[stem], source.paths.get(stem), source.lost),
        {stem: image.name for stem, image in images.items()},
        lost=file.lost,
    )
    return source


def _stem(name: str) -> str:
    """Return the path without extension; of an absolute path (images left in their place), the whole path."""
    text = name.replace("\\", "/")
    last = split_path(text)[1][-1]
    suffix = last[last.rindex(".") :] if "." in last[1:] else ""
    return text[: -len(suffix)] if suffix and text.endswith(suffix) else text
