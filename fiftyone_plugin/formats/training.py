"""Masks to train a segmenter on: PNG of class indices, 255 ignored, in the layouts of three libraries.

Sources: Ultralytics' semantic segmentation (``SemanticDataset`` of ultralytics.data.dataset: masks are found
by replacing the last ``/images/`` of an image's path with the ``masks_dir`` of the YAML); mmsegmentation 1.x
(``BaseSegDataset``: ``img_dir`` and ``ann_dir``, paired by name); Hugging Face datasets' ``imagefolder``
(``metadata.jsonl`` with ``*_file_name`` columns) with the ``id2label.json`` of transformers' example.

Classes count from 0, in the order of the categories. Unlabelled pixels are 255, or class 0 where the caller
names a background; pixels without enough confidence are 255 always.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..errors import UsageError
from ..masks.files import write_mask
from .base import Converted, ExportOptions, Sample, Writer
from .categories import Categories
from .staging import writing
from .voc import voc_palette
from .yolo import TRAIN, YoloWriter

__all__ = ["IGNORED", "class_names", "index_mask"]

IGNORED = 255
SPLITS = {"val": "validation", "valid": "validation", "dev": "validation"}  # as Hugging Face calls them


def index_mask(sample: Sample) -> np.ndarray:
    """Return the (H, W) uint8 class indices of an image, 255 where nothing is to be learnt."""
    if sample.options.background:
        indices = sample.labels.astype(np.uint8)
    else:
        indices = (sample.labels - 1).astype(np.uint8)  # 0 becomes 65,535, and 255 here
    if sample.unsure is not None:
        indices[sample.unsure] = IGNORED
    return indices


def class_names(categories: Categories, options: ExportOptions) -> dict[int, str]:
    """Return class index -> name."""
    names = [item.name for item in categories.items]
    return dict(enumerate([options.background, *names] if options.background else names))


class IndexWriter(Writer):
    """Masks of class indices, a PNG an image, in the folder of its split."""

    masks_folder: ClassVar[str]
    split_is: ClassVar[str]  # what a name that is not taken cannot be

    @staticmethod
    def takes_split(name: str, /) -> object:
        return True

    @classmethod
    def check(cls, categories: Categories, options: ExportOptions) -> None:
        super().check(categories, options)
        names = list(class_names(categories, options).values())
        if len(names) > IGNORED:
            raise UsageError(
                f"masks to train on hold at most {IGNORED} classes, there are {len(names)}: choose some"
            )
        if len(names) == 1:
            raise UsageError(
                f"nothing to tell {names[0]!r}, the only class, from: name what is unlabelled, "
                "--background NAME"
            )
        if len(set(names)) < len(names):
            raise UsageError(
                f"there is a class {options.background!r} already: choose another name of the background"
            )
        if options.images == "reference":
            raise UsageError("training code looks for images beside the masks: copy or symlink them")
        wrong = next((split for split in options.splits if not cls.takes_split(split)), None)
        if wrong is not None:
            raise UsageError(f"split {wrong!r} cannot be {cls.split_is}; rename it")

    @classmethod
    def convert(cls, sample: Sample, folder: Path) -> Converted:
        mask = index_mask(sample)
        below = cls.masks_folder.format(split=cls.folder_name(sample.split or TRAIN))
        path = folder / below / f"{sample.item.stem}.png"
        with writing(path):
            write_mask(path, mask)
        return sample.converted(len(np.unique(mask[mask != IGNORED])), image=sample.item.placed)


# ------------------------------------------------------------------ Ultralytics


class UltralyticsWriter(IndexWriter, YoloWriter):
    """``data.yaml`` with ``masks_dir``."""

    masks_folder = "masks/{split}"
    name = "ultralytics-semantic"
    description = "Ultralytics semantic segmentation: PNG of class indices and data.yaml, 255 ignored"
    labels = "masks"
    head: ClassVar[dict[str, str]] = {"masks_dir": "masks"}

    def names(self) -> dict[int, str]:
        """Return class index -> name."""
        return class_names(self.categories, self.options)


# --------------------------------------------------------------- mmsegmentation


class MmsegWriter(IndexWriter):
    """``dataset.py``: a ``<split>_dataset`` for a config to use, in parts where extensions differ."""

    name = "mmsegmentation"
    description = "mmsegmentation: img_dir, ann_dir and a config of the datasets, 255 ignored"
    images_folder = "img_dir/{split}"
    masks_folder = "ann_dir/{split}"
    takes_split = staticmethod(str.isidentifier)
    split_is = "part of a name of Python, as mmsegmentation wants"

    def start(self) -> None:
        """Begin with no image in any split."""
        self.suffixes: dict[str, set[str]] = {split: set() for split in self.options.splits or (TRAIN,)}

    def add(self, converted: Converted) -> None:
        """Take note of an image's extension."""
        super().add(converted)
        self.suffixes[converted.split or TRAIN].add(Path(converted.image).suffix)

    def finish(self) -> None:
        """Write the file."""
        names = list(class_names(self.categories, self.options).values())
        palette = voc_palette()[1 : len(names) + 1].tolist()
        lines = [
            "# For a config of mmsegmentation 1.x: name this file in its _base_, and give each a pipeline.",
            'data_root = "{{ fileDirname }}/"',
            f"metainfo = dict(classes={_literal(names)}, palette={palette})",
            *(f"{name}_dataset = {_dataset(name, self.suffixes[name])}" for name in self.suffixes),
        ]
        self.text("dataset.py", "\n".join(lines) + "\n")
        super().finish()


def _dataset(split: str, suffixes: set[str]) -> str:
    entries = [
        'dict(type="BaseSegDataset", data_root=data_root, metainfo=metainfo, ignore_index=255, '
        f"reduce_zero_label=False, img_suffix={_literal(suffix)}, seg_map_suffix='.png', "
        f"data_prefix=dict(img_path='img_dir/{split}', seg_map_path='ann_dir/{split}'), pipeline=[])"
        for suffix in sorted(suffixes) or [".jpg"]
    ]
    listed = ", ".join(entries)
    return entries[0] if len(entries) == 1 else f'dict(type="ConcatDataset", datasets=[{listed}])'


def _literal(value: object) -> str:
    """Return a value as Python; braces, which mmengine would replace, are escaped."""
    return ascii(value).replace("{", "\\x7b").replace("}", "\\x7d")


# ----------------------------------------------------------------- Hugging Face


class HuggingFaceWriter(IndexWriter):
    """``<split>/metadata.jsonl``, ``id2label.json``, and a card that says which folder is which split."""

    name = "huggingface"
    description = "Hugging Face imagefolder: image and label columns, id2label.json, 255 ignored"
    images_folder = "{split}/image"
    masks_folder = "{split}/label"
    takes_split = staticmethod(partial(re.fullmatch, r"\w+(\.\w+)*"))
    split_is = "one of Hugging Face: letters, digits, _ and dots"

    def start(self) -> None:
        """Write the names of the classes."""
        self.used: dict[str, None] = {}
        names = class_names(self.categories, self.options)
        self.text("id2label.json", json.dumps(names, indent=2, ensure_ascii=False) + "\n")

    def add(self, converted: Converted) -> None:
        """Add the image's line."""
        super().add(converted)
        split = converted.split or TRAIN
        self.used[split] = None
        line = {
            "image_file_name": f"image/{converted.image}",
            "label_file_name": f"label/{converted.stem}.png",
        }
        self.text(f"{split}/metadata.jsonl", json.dumps(line) + "\n")

    def finish(self) -> None:
        """Write the card; a split without images is none."""
        import yaml

        splits = [s for s in self.options.splits or (TRAIN,) if s in self.used]
        files = [{"split": SPLITS.get(split, split), "path": f"{split}/**"} for split in splits]
        head = {
            "task_categories": ["image-segmentation"],
            "configs": [{"config_name": "default", "data_files": files}],
        }
        text = (
            f"{self.info['description']}. Labels are class indices (id2label.json); 255 is to be ignored.\n"
        )
        self.text("README.md", f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n{text}")
        super().finish()
