"""Pascal VOC's SegmentationClass: indexed PNG with the VOC palette, and lists of classes beside such masks.

Source: the VOC 2012 development kit, section "Ground truth annotation" and ``VOClabelcolormap``: index 0 is
background, 255 is void (object borders and regions of no known class). Read are also CVAT's ``labelmap.txt``
with colours and labelme's ``class_names.txt``.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..common.classes import MAX_ID
from ..common.untrusted import read_text
from ..errors import ImageReadError, UsageError
from ..masks.files import packed_colours, read_colours
from .base import Converted, ExportOptions, Sample, Writer
from .categories import Categories
from .masks import read_ids
from .staging import writing

__all__ = ["VOID", "LabelMap", "VocWriter", "labelmap_names", "read_label_map", "voc_image", "voc_palette"]

VOID = 255  # VOC's index for borders and regions of no class
VOID_COLOUR = 0xE0E0C0  # and its colour
MAX_CLASSES = 254
SPLIT = "trainval"
BACKGROUND = frozenset({"background", "_background_", "__background__"})
IGNORED = "__ignore__"  # labelme's id -1, before the background
_ROW = re.compile(r"(.+?):\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*(:.*)?")


def voc_palette() -> np.ndarray:
    """Return the (256, 3) uint8 colours: the bits of an index, dealt out to red, green and blue."""
    index = np.arange(256)
    channels = [sum(((index >> (3 * bit + c)) & 1) << (7 - bit) for bit in range(8)) for c in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8)


def voc_image(labels: np.ndarray, *, void: np.ndarray | None = None, border: int = 0) -> Image.Image:
    """Return the indexed image of a mask.

    Args:
        labels: (H, W) category ids within 0..254.
        void: (H, W) bool, pixels that become 255.
        border: pixels on both sides of every boundary between ids that become 255 (VOC has 5 in all; 2 or 3
            here comes close); 0 for none.

    Raises:
        UsageError: an id above 254.
    """
    if labels.max(initial=0) > MAX_CLASSES:
        raise UsageError(f"VOC masks hold at most {MAX_CLASSES} classes, not {int(labels.max())}")
    indices = labels.astype(np.uint8)
    if border > 0:
        from ..masks.regions import near_boundary

        indices[near_boundary(labels, border)] = VOID
    if void is not None:
        indices[void] = VOID
    image = Image.fromarray(indices)  # "L"; the palette makes it "P"
    image.putpalette(voc_palette().tobytes())
    return image


class VocWriter(Writer):
    """``ImageSets/Segmentation/<split>.txt``, ``labelmap.txt`` (name and colour), ``low_quality.txt``."""

    name = "voc"
    description = "Pascal VOC SegmentationClass: indexed PNG with the VOC palette"
    images_folder = "JPEGImages"

    @classmethod
    def check(cls, categories: Categories, options: ExportOptions) -> None:
        """Refuse more classes than an indexed image holds."""
        if len(categories) > MAX_CLASSES:
            raise UsageError(
                f"VOC masks hold at most {MAX_CLASSES} classes, there are {len(categories)}: "
                "choose some of them"
            )

    @classmethod
    def convert(cls, sample: Sample, folder: Path) -> Converted:
        """Write the indexed PNG."""
        item, options = sample.item, sample.options
        void = sample.labels == 0 if options.void else sample.unsure
        path = folder / "SegmentationClass" / f"{item.stem}.png"
        with writing(path, make_folder=True):
            voc_image(sample.labels, void=void, border=options.border).save(path)
        return sample.converted(len(np.unique(sample.labels[sample.labels > 0])))

    def start(self) -> None:
        """Make the lists."""
        palette = voc_palette()
        names = labelmap_names({0: "background", **{item.id: item.name for item in self.categories.items}})
        rows = [f"{name}:{','.join(map(str, palette[i]))}::" for i, name in names.items()]
        self.text("labelmap.txt", "# label:color_rgb:parts:actions\n" + "".join(f"{row}\n" for row in rows))
        for split in self.options.splits or (SPLIT,):
            self.open(f"ImageSets/Segmentation/{split}.txt")

    def add(self, converted: Converted) -> None:
        """Add an image to the lists."""
        super().add(converted)
        self.text(f"ImageSets/Segmentation/{converted.split or SPLIT}.txt", f"{converted.stem}\n")


def labelmap_names(names: dict[int, str]) -> dict[int, str]:
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


# ---------------------------------------------------------------------- reading


@dataclass
class LabelMap:
    """Classes in the order of the file.

    Attributes:
        ids: mask id of every row: 0 for the background, else its number; rows before the background, and all
            where there is none, count from 1.
        names: mask id -> class name.
        colours: 0xRRGGBB -> mask id, without colours that several rows have.
    """

    ids: list[int] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    colours: dict[int, int] = field(default_factory=dict)

    def read(self, path: Path) -> np.ndarray:
        """Return the (H, W) mask ids of a file: by colour if all its colours are in the map, else by index.

        Raises:
            ImageReadError: it cannot be read, or holds colours or indices that are no row.
        """
        if not self.colours:
            return self._from_indices(path)
        packed = packed_colours(read_colours(path))
        found, inverse = np.unique(packed, return_inverse=True)
        known = {0: 0, VOID_COLOUR: 0, **self.colours}
        unknown = [int(value) for value in found if int(value) not in known]
        if not unknown:
            values = np.array([known[int(value)] for value in found], np.uint16)
            return values[inverse.reshape(packed.shape)]
        try:
            return self._from_indices(path)
        except ImageReadError as error:
            listed = ", ".join(f"#{value:06x}" for value in unknown[:5])
            raise ImageReadError(path, f"colours that are not in the label map: {listed}") from error

    def _from_indices(self, path: Path) -> np.ndarray:
        indices = read_ids(path)
        table = np.array(self.ids, np.int64)
        void = (indices == VOID) & (len(table) <= VOID)
        outside = ((indices < 0) | (indices >= len(table))) & ~void
        if outside.any():
            listed = ", ".join(str(value) for value in np.unique(indices[outside])[:5])
            raise ImageReadError(path, f"ids without a row in the label map: {listed}")
        return np.where(void, 0, table[np.where(void, 0, indices)])


def read_label_map(path: Path) -> LabelMap:
    """Read a ``labelmap.txt`` (``name:r,g,b:parts:actions`` a line) or a file with one name a line.

    Raises:
        UsageError: it cannot be read, is not UTF-8, or has too many rows.
    """
    lines = (line.strip() for line in read_text(path, what="a list of classes").splitlines())
    rows = [_row(line) for line in lines if line and not line.startswith("#")]
    if rows and rows[0][0] == IGNORED:
        rows = rows[1:]
    if len(rows) > MAX_ID:
        raise UsageError(f"{path} has {len(rows):,} classes; masks hold {MAX_ID:,}")
    names = [name for name, _ in rows]
    first = next((i for i, name in enumerate(names) if name.lower() in BACKGROUND), None)
    ids = [i + (first is None or i < first) for i in range(len(rows))]
    if first is not None:
        ids[first] = 0
    uses = Counter(colour for _, colour in rows)
    return LabelMap(
        ids,
        {id_: name for id_, name in zip(ids, names, strict=True) if id_},
        {c: id_ for id_, (_, c) in zip(ids, rows, strict=True) if c is not None and uses[c] == 1},
    )


def _row(line: str) -> tuple[str, int | None]:
    """Return name and colour of a line."""
    match = _ROW.fullmatch(line)
    if match is None:
        return line.split(":")[0].strip(), None
    red, green, blue = (int(value) for value in match.group(2, 3, 4))
    return match[1].strip(), (red << 16 | green << 8 | blue) if max(red, green, blue) <= 255 else None
