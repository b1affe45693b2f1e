"""Formats of a file an image: VOC SegmentationClass, plain masks, YOLO segmentation."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import UsageError
from ..masks.files import write_mask
from .base import Converted, ExportOptions, Format, Sample
from .categories import Categories
from .staging import NAMES, writing
from .voc import MAX_CLASSES, voc_image, voc_palette
from .yolo import train_and_validation, yolo_folder, yolo_lines

__all__ = ["FORMATS"]

VOC_SPLIT = "trainval"
YOLO_SPLIT = "train"
# keys of data.yaml that mean something else to YOLO than a split
YOLO_KEYS = frozenset({"path", "names", "nc", "channels", "download", "yaml_file"})
NO_VALIDATION = """\
# No images for validation were exported, and training images must not serve as such: put some into images/val
# and their labels into labels/val, or export with splits, one of them called val.
"""


def convert_voc(sample: Sample, folder: Path) -> Converted:
    """Write the indexed PNG."""
    item, options = sample.item, sample.options
    void = sample.labels == 0 if options.void else None
    path = folder / "SegmentationClass" / f"{item.stem}.png"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        voc_image(sample.labels, void=void, border=options.border).save(path)
    return _converted(sample, len(np.unique(sample.labels[sample.labels > 0])))


def convert_masks(sample: Sample, folder: Path) -> Converted:
    """Write the PNG of class ids."""
    path = folder / "masks" / f"{sample.item.stem}.png"
    with writing(path):
        write_mask(path, sample.categories.decode(sample.labels))
    return _converted(sample, len(np.unique(sample.labels[sample.labels > 0])))


def convert_yolo(sample: Sample, folder: Path) -> Converted:
    """Write the text file; an image without segments gets an empty one."""
    lines = yolo_lines(sample.segments(stuff_whole=False), sample.options.tolerance)
    path = folder / "labels" / yolo_folder(sample.split or YOLO_SPLIT) / f"{sample.item.stem}.txt"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    return _converted(sample, len(lines))


def _converted(sample: Sample, count: int) -> Converted:
    return Converted(sample.item.key, sample.split, sample.item.stem, sample.low, count=count)


class _Lists:
    """A writer of text files with a line an image; the base of the writers here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[Path, IO[str]] = {}

    def open(self, name: str) -> None:
        """Make a list, so that it is there even if it stays empty."""
        path = self.folder / name
        if path in self._files:
            return
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[path] = path.open("w", encoding="utf-8", errors=NAMES, newline="\n")

    def line(self, name: str, text: str) -> None:
        """Add a line to a list."""
        self.open(name)
        with writing(self.folder / name):
            self._files[self.folder / name].write(text + "\n")

    def write(self, name: str, text: str) -> None:
        """Write a whole file."""
        with writing(self.folder / name):
            (self.folder / name).write_text(text, encoding="utf-8", errors=NAMES, newline="\n")

    def finish(self) -> None:
        """Close the lists."""
        for path, file in self._files.items():
            with writing(path):
                file.close()

    def abandon(self) -> None:
        """Close the lists of a failed export."""
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()


class MasksWriter(_Lists):
    """``classes.json``, a list ``splits/<split>.txt`` a split, ``low_quality.txt`` where masks are marked."""

    def __init__(
        self, folder: Path, categories: Categories, options: ExportOptions, info: dict[str, Any]
    ) -> None:
        super().__init__(folder)
        self.write("classes.json", _class_file(categories))
        for split in options.splits:
            self.open(f"splits/{split}.txt")

    def add(self, converted: Converted) -> None:
        """Add an image to the lists."""
        if converted.split:
            self.line(f"splits/{converted.split}.txt", converted.stem)
        if converted.low:
            self.line("low_quality.txt", converted.stem)


class VocWriter(_Lists):
    """``ImageSets/Segmentation/<split>.txt``, ``labelmap.txt`` (name and colour), ``low_quality.txt``."""

    def __init__(
        self, folder: Path, categories: Categories, options: ExportOptions, info: dict[str, Any]
    ) -> None:
        super().__init__(folder)
        palette = voc_palette()
        names = _labelmap_names({0: "background", **{item.id: item.name for item in categories.items}})
        rows = [f"{name}:{','.join(map(str, palette[i]))}::" for i, name in names.items()]
        self.write("labelmap.txt", "# label:color_rgb:parts:actions\n" + "".join(f"{row}\n" for row in rows))
        for split in options.splits or (VOC_SPLIT,):
            self.open(f"ImageSets/Segmentation/{split}.txt")

    def add(self, converted: Converted) -> None:
        """Add an image to the lists."""
        self.line(f"ImageSets/Segmentation/{converted.split or VOC_SPLIT}.txt", converted.stem)
        if converted.low:
            self.line("low_quality.txt", converted.stem)


class YoloWriter(_Lists):
    """``data.yaml``, and ``low_quality.txt`` where masks are marked."""

    def __init__(
        self, folder: Path, categories: Categories, options: ExportOptions, info: dict[str, Any]
    ) -> None:
        import yaml

        super().__init__(folder)
        splits = options.splits or (YOLO_SPLIT,)
        train, validation = train_and_validation(splits)
        document = {
            "train": _images_of(train),
            "val": _images_of(validation or "val"),  # YOLO insists on this key
            **{split: _images_of(split) for split in splits if split not in ("train", "val")},
            "names": {item.id - 1: item.name for item in categories.items},
        }
        for split in {*splits, validation or "val"}:
            with writing(folder):
                (folder / _images_of(split)).mkdir(parents=True, exist_ok=True)
        comment = "" if validation else NO_VALIDATION
        # U+0085 and its like, written as they are, are read as line breaks
        plain = all(item.name.isprintable() for item in categories.items)
        self.write("data.yaml", comment + yaml.safe_dump(document, sort_keys=False, allow_unicode=plain))

    def add(self, converted: Converted) -> None:
        """Note what is marked."""
        if converted.low:
            self.line("low_quality.txt", converted.stem)


def _class_file(categories: Categories) -> str:
    """Return ``classes.json``: names by mask id, with the supercategory where it says something."""
    groups = {item.name: item.supercategory for item in categories.items}
    entries = {
        str(i): name if groups[name] == name else {"name": name, "supercategory": groups[name]}
        for i, name in categories.mask_ids.items()
    }
    return json.dumps(entries, indent=2, ensure_ascii=False) + "\n"


def _labelmap_names(names: dict[int, str]) -> dict[int, str]:
    """Return names that readers of ``labelmap.txt`` split off as they are: one a row, all different.

    A colon ends the name, ``#`` begins a comment, and a row of no name or a name given twice would shift or
    merge the classes behind it. ``export.json`` has the names as they were.
    """
    plain: dict[int, str] = {}
    for number, name in names.items():
        shown = "".join(" " if c == ":" or not c.isprintable() else c for c in name)
        shown = " ".join(shown.split()).lstrip("# ") or f"class {number}"
        while shown in plain.values():
            shown = f"{shown} ({number})"
        plain[number] = shown
    return plain


def _check_voc(categories: Categories, options: ExportOptions) -> None:
    if len(categories) > MAX_CLASSES:
        raise UsageError(
            f"VOC masks hold at most {MAX_CLASSES} classes, there are {len(categories)}: choose some of them"
        )


def _images_of(split: str) -> str:
    return f"images/{yolo_folder(split)}"


def _check_yolo(categories: Categories, options: ExportOptions) -> None:
    taken = [split for split in options.splits if split in YOLO_KEYS]
    if taken:
        raise UsageError(f"{taken[0]!r} has another meaning in data.yaml than a split; rename the tag")
    if options.images == "reference":
        raise UsageError("YOLO finds labels beside the images: copy or symlink them")


FORMATS = (
    Format(
        "voc",
        "Pascal VOC SegmentationClass: indexed PNG with the VOC palette",
        "JPEGImages",
        convert_voc,
        VocWriter,
        _check_voc,
    ),
    Format("masks", "plain PNG of class ids, and classes.json", "images", convert_masks, MasksWriter),
    Format(
        "yolo",
        "YOLO segmentation: a text file of polygons an image",
        "images/{split}",
        convert_yolo,
        YoloWriter,
        _check_yolo,
        folder=yolo_folder,
    ),
)
