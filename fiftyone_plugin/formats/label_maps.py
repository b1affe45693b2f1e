"""Lists of classes beside VOC masks: CVAT's ``labelmap.txt`` with colours, labelme's ``class_names.txt``."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..common.untrusted import read_text
from ..errors import ImageReadError, UsageError
from ..masks.colours import read_colours
from ..masks.files import read_mask

__all__ = ["LabelMap", "read_ids", "read_label_map"]

BACKGROUND = frozenset({"background", "_background_", "__background__"})
IGNORED = "__ignore__"  # labelme's id -1, before the background
VOID = 255  # VOC's index for borders and regions of no class
VOID_COLOUR = 0xE0E0C0  # and its colour
MAX_CLASSES = 65_535
_ROW = re.compile(r"(.+?):\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*(:.*)?")


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
        colours = read_colours(path).astype(np.uint32)
        packed = colours[:, :, 0] << 16 | colours[:, :, 1] << 8 | colours[:, :, 2]
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


def read_label_map(path: Path) -> LabelMap:
    """Read a ``labelmap.txt`` (``name:r,g,b:parts:actions`` a line) or a file with one name a line.

    Raises:
        UsageError: it cannot be read, is not UTF-8, or has too many rows.
    """
    lines = (line.strip() for line in read_text(path, what="a list of classes").splitlines())
    rows = [_row(line) for line in lines if line and not line.startswith("#")]
    if rows and rows[0][0] == IGNORED:
        rows = rows[1:]
    if len(rows) > MAX_CLASSES:
        raise UsageError(f"{path} has {len(rows):,} classes; masks hold {MAX_CLASSES:,}")
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
