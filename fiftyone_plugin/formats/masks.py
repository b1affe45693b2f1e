"""Plain masks: PNG of class ids, and ``classes.json`` with their names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..errors import ImageReadError
from ..masks.files import read_colours, read_mask, write_mask
from .base import Converted, Sample, Writer
from .categories import Categories
from .staging import writing

__all__ = ["MasksWriter", "read_ids"]


class MasksWriter(Writer):
    """``classes.json``, a list ``splits/<split>.txt`` a split, ``low_quality.txt`` where masks are marked."""

    name = "masks"
    description = "plain PNG of class ids, and classes.json"

    @classmethod
    def convert(cls, sample: Sample, folder: Path) -> Converted:
        """Write the PNG of class ids."""
        path = folder / "masks" / f"{sample.item.stem}.png"
        with writing(path):
            write_mask(path, sample.categories.decode(sample.labels))
        return sample.converted(len(np.unique(sample.labels[sample.labels > 0])))

    def start(self) -> None:
        """Make the lists."""
        self.text("classes.json", _class_file(self.categories))
        for split in self.options.splits:
            self.open(f"splits/{split}.txt")

    def add(self, converted: Converted) -> None:
        """Add an image to the lists."""
        super().add(converted)
        if converted.split:
            self.text(f"splits/{converted.split}.txt", f"{converted.stem}\n")


def _class_file(categories: Categories) -> str:
    """Return ``classes.json``: names by mask id, with the supercategory where it says something."""
    groups = {item.name: item.supercategory for item in categories.items}
    entries = {
        str(i): name if groups[name] == name else {"name": name, "supercategory": groups[name]}
        for i, name in categories.mask_ids.items()
    }
    return json.dumps(entries, indent=2, ensure_ascii=False) + "\n"


def read_ids(path: Path) -> np.ndarray:
    """Return the (H, W) ids of a mask file; a colour file without colours (R = G = B) holds grey ids.

    Raises:
        ImageReadError: it cannot be read, or is no mask of ids.
    """
    try:
        return read_mask(path)
    except ImageReadError:
        try:
            colours = read_colours(path)
        except ImageReadError:
            colours = np.zeros((1, 1, 0))
        if colours.shape[2] == 3 and (colours == colours[:, :, :1]).all():
            return colours[:, :, 0]
        raise
