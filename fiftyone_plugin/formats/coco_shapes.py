"""Segmentations of COCO files of anybody, checked before pycocotools sees them: its C code trusts its input.

A coordinate far outside makes it allocate gigabytes or crash, a malformed RLE makes it read past the end.
Here polygons and RLE are checked in Python. Polygons that reach far out are drawn by :func:`fill_polygon`,
which gives the same pixels as pycocotools and looks only at the columns of the image.
"""

from __future__ import annotations

from itertools import chain
from typing import TypeGuard

import numpy as np

from ..errors import UsageError

__all__ = ["decode_segmentation", "fill_polygon", "segmentation_rle"]

FAR = 1e12  # pixels; what is farther away is a mistake
STEPS = 1 << 22  # fifths of pixels along outlines that pycocotools may walk: it keeps each of them
CROSSINGS = 1 << 26  # of outlines and columns that are looked at in one annotation
CHUNK = 1 << 20  # crossings held at once
GROUPS = 7  # characters of the longest number in an RLE string: 35 bits
NUMBERS = {int, float}


def segmentation_rle(segmentation: object, height: int, width: int) -> dict[str, object]:
    """Return pycocotools' RLE of what an annotation holds.

    That is a list of outlines ``[x, y, x, y, ...]`` or of points ``[x, y]``, or a compressed or uncompressed
    RLE; the size is that of the image in pixels.

    Raises:
        UsageError: it is none of these, of another size, or has coordinates that are no numbers or farther
            away than 1e12 pixels.
    """
    if isinstance(segmentation, dict):
        return _checked_rle(segmentation, height, width)
    if not isinstance(segmentation, list):
        raise UsageError(f"neither polygons nor RLE, but {_kind(segmentation)}")
    return _polygons_rle(_rings(segmentation), height, width)


def decode_segmentation(segmentation: object, height: int, width: int) -> np.ndarray:
    """Return the (H, W) bool mask of a segmentation, see :func:`segmentation_rle`."""
    from pycocotools import mask as coco_mask

    return np.asarray(coco_mask.decode([segmentation_rle(segmentation, height, width)])[:, :, 0], bool)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


# ---------------------------------------------------------------------- polygons


def _rings(value: list[object]) -> list[np.ndarray]:
    """Return the outlines as (points, 2) float64; those of fewer than three points enclose nothing."""
    if value and set(map(type, value)) <= NUMBERS:  # one outline without the list around it
        value = [value]
    elif _are_points(value):
        value = [list(chain.from_iterable(value))]
    rings = [_ring(entry) for entry in value]
    return [ring for ring in rings if len(ring) >= 3]


def _are_points(value: list[object]) -> TypeGuard[list[list[float]]]:
    return bool(value) and all(
        isinstance(entry, list) and len(entry) == 2 and set(map(type, entry)) <= NUMBERS for entry in value
    )


def _ring(entry: object) -> np.ndarray:
    if isinstance(entry, list) and _are_points(entry):
        entry = list(chain.from_iterable(entry))
    if not isinstance(entry, list) or not set(map(type, entry)) <= NUMBERS:
        raise UsageError("an outline that is not made of numbers")
    if len(entry) % 2:
        raise UsageError(f"an outline of an odd number of coordinates ({len(entry)})")
    try:
        ring = np.array(entry, np.float64).reshape(-1, 2)
    except OverflowError:
        raise UsageError("coordinates that are too large for a number") from None
    if not np.isfinite(ring).all():
        raise UsageError("coordinates that are no numbers (NaN or infinite)")
    if ring.size and np.abs(ring).max() > FAR:
        raise UsageError(f"coordinates as far away as {np.abs(ring).max():.3g}")
    return ring


def _polygons_rle(rings: list[np.ndarray], height: int, width: int) -> dict[str, object]:
    from pycocotools import mask as coco_mask

    rle: dict[str, object]
    if sum(map(_steps, rings)) <= STEPS:
        empty = {"size": [height, width], "counts": [height * width]}
        shapes = [ring.ravel().tolist() for ring in rings] or [empty]
        rle = coco_mask.merge(coco_mask.frPyObjects(shapes, height, width))
        return rle
    if sum(int(_columns(*_ends(ring), width)[1].sum()) for ring in rings) > CROSSINGS:
        raise UsageError("outlines that cross the image too often")
    mask = np.zeros((height, width), bool)
    for ring in rings:
        mask |= fill_polygon(ring, height, width)
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return rle


def _steps(ring: np.ndarray) -> float:
    """Return how many points pycocotools would make of an outline: five a pixel of length."""
    lengths = np.abs(ring - np.roll(ring, -1, axis=0)).max(axis=1)
    return 5 * float(lengths.sum()) + len(ring)


def _ends(ring: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return begin and end of every edge on pycocotools' grid of fifths of a pixel, (edges, 2) float64."""
    begin = np.trunc(5 * ring + 0.5)
    return begin, np.roll(begin, -1, axis=0)


def _columns(begin: np.ndarray, end: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first column of the image that every edge crosses, and how many it crosses."""
    low = np.minimum(begin[:, 0], end[:, 0])
    high = np.maximum(begin[:, 0], end[:, 0])
    first = np.clip(np.ceil((low - 2) / 5), 0, width).astype(np.int64)
    last = np.clip(np.floor((high - 3) / 5), -1, width - 1).astype(np.int64)
    return first, np.maximum(last - first + 1, 0)


def fill_polygon(ring: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the pixels of a polygon as pycocotools draws it, however far it reaches out of the image.

    pycocotools walks every outline on a grid of fifths of a pixel and notes at which height it passes from
    the second to the third fifth of a column; between these heights pixels are inside and outside in turn.
    Here the heights are computed for the columns of the image alone, with the same rounding.

    ``ring`` is (points, 2) float64, finite, within 1e12; the result (H, W) bool.
    """
    begin, end = _ends(ring)
    flips = np.zeros(height * width + 1, bool)
    first, counts = _columns(begin, end, width)
    edges = np.flatnonzero(counts)
    for chunk in _chunks(edges, counts[edges]):
        each = np.repeat(chunk, counts[chunk])
        offsets = np.arange(len(each)) - np.repeat(np.cumsum(counts[chunk]) - counts[chunk], counts[chunk])
        columns = first[each] + offsets
        heights = _crossings(begin[each], end[each], columns)
        rows = np.ceil(np.clip((heights + 0.5) / 5 - 0.5, 0, height)).astype(np.int64)
        flips ^= np.bincount(columns * height + rows, minlength=len(flips)) % 2 == 1
    inside = np.bitwise_xor.accumulate(flips[:-1])
    return np.asarray(inside.reshape(width, height).T)


def _chunks(edges: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    """Split edges so that each part has about ``CHUNK`` crossings."""
    parts = (np.cumsum(counts) // CHUNK).astype(np.int64)
    return np.split(edges, np.flatnonzero(np.diff(parts)) + 1) if len(edges) else []


def _crossings(begin: np.ndarray, end: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the heights, on the grid, at which edges pass the middle of columns, pair by pair."""
    size = np.abs(end - begin)
    flat = size[:, 0] >= size[:, 1]
    along = np.where(flat, 0, 1)  # the coordinate that is walked in steps of one
    rows = np.arange(len(begin))
    turned = (begin[rows, along] > end[rows, along])[:, None]
    low, high = np.where(turned, end, begin), np.where(turned, begin, end)
    heights = np.empty(len(begin))
    # flat edges: x is walked, y follows
    x, y = low[flat].T
    slope = (high[flat, 1] - y) / size[flat, 0]
    step = 5 * columns[flat] + 3 - x
    heights[flat] = np.minimum(np.trunc(y + slope * step + 0.5), np.trunc(y + slope * (step - 1) + 0.5))
    # steep edges: y is walked, x follows; the first step that has passed the middle
    x, y = low[~flat].T
    slope = (high[~flat, 0] - x) / size[~flat, 1]
    heights[~flat] = y + _first_step(x, slope, 5 * columns[~flat] + 2.0) - 1
    return heights


def _first_step(x: np.ndarray, slope: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Return the first whole t for which ``trunc(x + slope * t + 0.5)`` has passed ``middle``."""
    up = slope > 0
    guess = np.ceil((middle + 0.5 - x) / slope)

    def passed(t: np.ndarray) -> np.ndarray:
        at = np.trunc(x + slope * t + 0.5)
        return np.asarray(np.where(up, at > middle, at <= middle))

    # rounding makes the guess wrong by one at most
    return np.select([passed(guess - 1), passed(guess)], [guess - 1, guess], guess + 1)


# ---------------------------------------------------------------------- RLE


def _checked_rle(rle: dict[str, object], height: int, width: int) -> dict[str, object]:
    from pycocotools import mask as coco_mask

    size, counts = rle.get("size"), rle.get("counts")
    if not isinstance(size, list) or len(size) != 2 or set(map(type, size)) != {int}:
        raise UsageError("an RLE without a size")
    if size != [height, width]:
        raise UsageError(f"RLE of size {size} in an image of {[height, width]}")
    if isinstance(counts, str | bytes):
        runs = rle_counts(counts).tolist()
    elif isinstance(counts, list) and set(map(type, counts)) <= {int}:
        runs = counts
    else:
        raise UsageError(f"an RLE whose counts are {_kind(counts)}")
    if runs and min(runs) < 0:
        raise UsageError("a malformed RLE: runs of negative length")
    if sum(runs) != height * width:
        raise UsageError(f"a malformed RLE: its runs do not make up {height} x {width} pixels")
    checked: dict[str, object] = {"size": size, "counts": counts}
    return coco_mask.frPyObjects(checked, height, width) if isinstance(counts, list) else checked


def rle_counts(text: str | bytes) -> np.ndarray:
    """Return the lengths of the runs that COCO's RLE string holds, int64; they may be any numbers.

    Five bits a character from the lowest on, with a bit that says that more follow; from the fourth number on
    they are differences to the last but one.

    Raises:
        UsageError: it is no such string.
    """
    malformed = UsageError("a malformed RLE string")
    try:
        data = text.encode("ascii") if isinstance(text, str) else text
    except UnicodeEncodeError:
        raise malformed from None
    codes = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    if not codes.size or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise malformed
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > GROUPS:
        raise malformed
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    values = np.add.reduceat((codes & 31) << shifts, starts)
    values -= np.where(codes[ends] & 16, np.int64(1) << (5 * lengths), 0)
    for start in (1, 2):
        values[start::2] = np.cumsum(values[start::2])
    return values
