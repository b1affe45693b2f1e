"""Data sets for benchmarks: folders of images/ and masks/, with classes.json and ignore.json where needed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.evaluation.folders import read_classes
from fiftyone_plugin.images.listing import ImageItem, list_images
from fiftyone_plugin.masks.files import read_mask

# Ground-truth ids that take no part, where a folder has no ignore.json of its own: MSRC-21 leaves out void,
# horse and mountain of MSRC v2; 0 is unlabelled in the 27 coarse COCO classes, and void in CamVid.
IGNORE = {"msrc_v2": (0, 5, 8), "coco27": (0,), "camvid": (0,)}
FOREGROUND = ("ecssd",)  # salient object against background, masks of 0 and 255


@dataclass(frozen=True)
class BenchmarkData:
    """Images with ground truth.

    Attributes:
        name: name in tables.
        items: the images.
        mask_dir: folder of ground-truth masks, paired by stem.
        ignore: ground-truth ids that take no part.
        classes: id -> name of the classes that are scored.
        foreground: two classes, salient object against background.
        note: what else a table has to say about the data, e.g. how papers score them.
    """

    name: str
    items: tuple[ImageItem, ...]
    mask_dir: Path
    ignore: tuple[int, ...]
    classes: dict[int, str]
    foreground: bool
    note: str = ""

    @property
    def n_classes(self) -> int:
        """C, the number of classes that are scored."""
        return len(self.classes)

    def truth(self, item: ImageItem) -> np.ndarray:
        """Return the (H, W) ground truth of an image; foreground masks as 0 and 1."""
        mask = read_mask(self.mask_dir / f"{Path(item.key).with_suffix('')}.png")
        return (mask > 127).astype(np.uint8) if self.foreground else mask

    def truths(self) -> Iterator[tuple[ImageItem, np.ndarray]]:
        """Yield every image with its ground truth."""
        for item in self.items:
            yield item, self.truth(item)


def default_folder() -> Path:
    """Return the folder of data sets: ``PSEUDOMASK_DATA``, or ``../shared/data`` beside the checkout."""
    return Path(os.environ.get("PSEUDOMASK_DATA", Path(__file__).parents[2] / "shared" / "data"))


def load_folder(folder: Path, limit: int | None = None) -> BenchmarkData:
    """Read a benchmark folder; images without a mask are left out.

    Raises:
        UsageError: no images with masks.
    """
    masks = folder / "masks"
    listed = list_images(folder / "images")
    items = tuple(i for i in listed if (masks / f"{Path(i.key).with_suffix('')}.png").is_file())[:limit]
    if not items:
        raise UsageError(f"{folder} has no images/ with masks/ of the same stem")
    foreground = folder.name in FOREGROUND
    ignore = IGNORE.get(folder.name, ())
    if (folder / "ignore.json").is_file():
        ignore = tuple(json.loads((folder / "ignore.json").read_text()))
    if foreground:
        classes = {0: "background", 1: "foreground"}
    elif (folder / "classes.json").is_file():
        classes = {k: v for k, v in read_classes(folder / "classes.json").items() if k not in ignore}
    else:
        found: set[int] = set()
        for item in items:
            found |= set(np.unique(read_mask(masks / f"{Path(item.key).with_suffix('')}.png")).tolist())
        classes = {k: str(k) for k in sorted(found - set(ignore))}
    return BenchmarkData(folder.name, items, masks, ignore, classes, foreground)
