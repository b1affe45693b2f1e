"""YOLO segmentation labels: a text file an image, ``class x1 y1 x2 y2 ...`` a line, relative to the image.

Source: https://docs.ultralytics.com/datasets/segment/. Classes count from 0; one line has one polygon, so a
hole is joined to the outline by a slit, and parts of one segment become lines of their own.

The labels of an image are found by replacing the last ``/images/`` of its path with ``/labels/``
(``img2label_paths`` of ultralytics.data.utils): no folder below ``images/`` may have that name.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar

from ..errors import UsageError
from ..masks.polygons import segment_polygons
from ..masks.segments import Segments
from .base import Converted, ExportOptions, Sample, Writer
from .categories import Categories
from .staging import writing

__all__ = ["TRAIN", "YoloWriter", "train_and_validation", "yolo_folder", "yolo_lines"]

TRAIN = "train"
VALIDATION = ("val", "valid", "validation", "dev")  # what splits for validation are called, the best first
# keys of data.yaml that mean something else to YOLO than a split
KEYS = frozenset({"path", "names", "nc", "channels", "download", "yaml_file", "masks_dir", "label_mapping"})
NO_VALIDATION = """\
# No images for validation were exported, and training images must not serve as such: put some into images/val
# and their labels into {labels}/val, or export with splits, one of them called val.
"""
_IMAGES = re.compile("images_*", re.IGNORECASE)


def yolo_folder(name: str) -> str:
    """Return what a folder is called below ``images/`` and ``labels/``: ``images`` becomes ``images_``.

    Different names stay different: ``images_`` becomes ``images__``.
    """
    return f"{name}_" if _IMAGES.fullmatch(name) else name


def train_and_validation(splits: Collection[str]) -> tuple[str, str | None]:
    """Choose the splits for training and validation; ``None`` where only training images are there."""
    validation = next((name for name in VALIDATION if name in splits), None)
    others = [name for name in splits if name != validation]
    train = TRAIN if TRAIN in others or not others else others[0]
    if validation is None and "test" in splits and train != "test":
        validation = "test"
    return train, validation


def yolo_lines(segments: Segments, tolerance: float = 0) -> list[str]:
    """Return the lines of an image's label file, coordinates in [0, 1] with six digits.

    Segments are labelled with category ids from 1; the tolerance is that of
    :func:`~fiftyone_plugin.masks.polygons.mask_polygons`, in pixels.
    """
    height, width = segments.runs.shape
    lines = []
    for label, polygons in zip(segments.label.tolist(), segment_polygons(segments, tolerance), strict=True):
        for polygon in polygons:
            relative = (polygon / (width, height)).ravel().tolist()
            lines.append(
                f"{label - 1} " + " ".join(f"{value:.6f}".rstrip("0").rstrip(".") for value in relative)
            )
    return lines


class YoloWriter(Writer):
    """``data.yaml``, and ``low_quality.txt`` where masks are marked."""

    name = "yolo"
    description = "YOLO segmentation: a text file of polygons an image"
    images_folder = "images/{split}"
    folder_name = staticmethod(yolo_folder)
    labels = "labels"
    head: ClassVar[dict[str, str]] = {}

    @classmethod
    def check(cls, categories: Categories, options: ExportOptions) -> None:
        """Refuse splits that ``data.yaml`` would misread, and images that stay where they are."""
        taken = [split for split in options.splits if split in KEYS]
        if taken:
            raise UsageError(f"{taken[0]!r} has another meaning in data.yaml than a split; rename the tag")
        if options.images == "reference":
            raise UsageError("YOLO finds labels beside the images: copy or symlink them")

    @classmethod
    def convert(cls, sample: Sample, folder: Path) -> Converted:
        """Write the text file; an image without segments gets an empty one."""
        lines = yolo_lines(sample.segments(stuff_whole=False), sample.options.tolerance)
        path = folder / "labels" / yolo_folder(sample.split or TRAIN) / f"{sample.item.stem}.txt"
        with writing(path, make_folder=True):
            path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
        return sample.converted(len(lines))

    def names(self) -> dict[int, str]:
        """Return class index -> name."""
        return {item.id - 1: item.name for item in self.categories.items}

    def start(self) -> None:
        """Make the lists."""
        import yaml

        splits = self.options.splits or (TRAIN,)
        train, validation = train_and_validation(splits)
        document = {
            **self.head,
            "train": _images_of(train),
            "val": _images_of(validation or "val"),  # YOLO insists on this key
            **{split: _images_of(split) for split in splits if split not in ("train", "val")},
            "names": self.names(),
        }
        for split in {*splits, validation or "val"}:
            with writing(self.folder):
                (self.folder / _images_of(split)).mkdir(parents=True, exist_ok=True)
        comment = "" if validation else NO_VALIDATION.format(labels=self.labels)
        # U+0085 and its like, written as they are, are read as line breaks
        plain = all(name.isprintable() for name in self.names().values())
        self.text("data.yaml", comment + yaml.safe_dump(document, sort_keys=False, allow_unicode=plain))


def _images_of(split: str) -> str:
    return f"images/{yolo_folder(split)}"
