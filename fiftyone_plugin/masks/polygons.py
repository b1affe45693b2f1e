"""Polygons along the edges of pixels, holes included, that COCO's tools turn into the very same pixels.

COCO takes the union of the polygons of an annotation, so a hole cannot be a polygon of its own. It is joined
to the outline by a slit of no width instead: one closed line, which the even-odd rule of pycocotools (and the
non-zero rule: holes turn the other way) fills without the hole.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .segments import Segments, find_segments

__all__ = ["mask_polygons", "segment_polygons", "trace_rings"]


def segment_polygons(segments: Segments, tolerance: float = 0) -> list[list[np.ndarray]]:
    """Return the polygons of every segment, see :func:`mask_polygons`."""
    return [
        [ring + corner for ring in mask_polygons(inside, tolerance)] for inside, corner in _boxes(segments)
    ]


def _boxes(segments: Segments) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield what is inside every segment, (h, w) bool in its box, and the x, y of the box."""
    numbers = segments.to_map()
    for number, (x, y, width, height) in enumerate(segments.box, 1):
        yield numbers[y : y + height, x : x + width] == number, np.array((x, y))


def mask_polygons(mask: np.ndarray, tolerance: float = 0) -> list[np.ndarray]:
    """Return one polygon for every 4-connected part of a mask, holes joined to its outline.

    Args:
        mask: (H, W) bool.
        tolerance: pixels by which an outline may deviate (Douglas-Peucker); 0 follows the pixels' edges, and
            pycocotools gives back the mask exactly. A part of which nothing would be left stays exact.

    Returns:
        (N, 2) float64 arrays of x, y in pixels, 0 at the left and upper edge of the image; not closed.
    """
    polygons = []
    for inside, corner in _boxes(find_segments(mask.astype(np.uint8))):
        outline, *holes = _outline_first(trace_rings(inside))
        if tolerance > 0 and (simple := _simplify(outline, tolerance)) is not None:
            outline = simple
            # a hole of which nothing is left is narrower than the tolerance
            holes = [hole for ring in holes if (hole := _simplify(ring, tolerance)) is not None]
        polygons.append(_join_holes(outline, holes) + corner)
    return polygons


def trace_rings(mask: np.ndarray) -> list[np.ndarray]:
    """Trace the borders of a 4-connected mask along the edges of its pixels.

    A border turns at every lattice point where one or three of the four pixels around are inside. Along each
    row and each column of the lattice, turns pair up to the ends of straight edges; following the pairs in
    turn gives the rings.

    Returns:
        (N, 2) int64 arrays of the x, y of the turns, not closed; one ring is the outline, others are holes.
    """
    padded = np.pad(mask, 1)
    nw, ne, sw, se = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    odd = nw ^ ne ^ sw ^ se
    # two pixels that touch at a corner only: two turns at one point
    falling, rising = nw & se & ~ne & ~sw, ne & sw & ~nw & ~se
    y, x = np.nonzero(odd | falling | rising)
    twice = (falling | rising)[y, x]
    turn = np.repeat(np.arange(len(x)), 1 + twice)
    second = np.zeros(len(turn), np.int64)
    second[1:] = turn[1:] == turn[:-1]
    x, y, swap = x[turn], y[turn], rising[y, x][turn]
    # first copy: the end of the edge from the left, second: the start of the edge to the right
    along_row = _pairs(np.lexsort((second, x, y)))
    # that copy also ends the edge from above if the pixel at the upper left is inside, else starts the lower
    along_column = _pairs(np.lexsort((np.where(swap, 1 - second, second), y, x)))
    points = np.stack([x, y], axis=1)
    return [points[ring] for ring in _follow(along_row.tolist(), along_column.tolist())]


def _pairs(order: np.ndarray) -> np.ndarray:
    """Return the partner of every turn: in ``order``, the first two belong together, the next two, ..."""
    partner = np.empty(len(order), np.int64)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return partner


def _follow(along_row: list[int], along_column: list[int]) -> list[list[int]]:
    seen = [False] * len(along_row)
    rings = []
    for begin in range(len(along_row)):
        if seen[begin]:
            continue
        ring, at = [], begin
        while not seen[at]:
            other = along_row[at]
            seen[at] = seen[other] = True
            ring += [at, other]
            at = along_column[other]
        rings.append(ring)
    return rings


def _signed_area(ring: np.ndarray) -> float:
    x, y = ring[:, 0].astype(float), ring[:, 1].astype(float)
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _outline_first(rings: list[np.ndarray]) -> list[np.ndarray]:
    """Order rings: the outline, running clockwise on the screen, then holes, running the other way."""
    areas = [_signed_area(ring) for ring in rings]
    outline = int(np.argmax(np.abs(areas)))
    turned = [
        ring if (area > 0) == (i == outline) else ring[::-1]
        for i, (ring, area) in enumerate(zip(rings, areas, strict=True))
    ]
    return [turned[outline], *(ring for i, ring in enumerate(turned) if i != outline)]


def _simplify(ring: np.ndarray, tolerance: float) -> np.ndarray | None:
    """Drop turns that lie within ``tolerance`` pixels of the simpler line; ``None`` if no area is left."""
    import cv2

    simple = cv2.approxPolyDP(ring.astype(np.int32)[:, None], tolerance, True)[:, 0].astype(np.int64)
    return simple if len(simple) >= 3 and _signed_area(simple) != 0 else None


def _join_holes(outline: np.ndarray, holes: list[np.ndarray]) -> np.ndarray:
    """Join holes to the outline, each by a horizontal slit from its leftmost turn to what lies left of it."""
    polygon = outline.astype(np.float64)
    from_leftmost = [np.roll(ring, -np.lexsort((ring[:, 1], ring[:, 0]))[0], axis=0) for ring in holes]
    # from left to right: what lies left of a hole belongs to the polygon already
    for hole in sorted(from_leftmost, key=lambda ring: tuple(ring[0])):
        x, y = hole[0]
        (ax, ay), (bx, by) = polygon.T, np.roll(polygon, -1, axis=0).T
        rise = by - ay
        crosses = (np.minimum(ay, by) <= y) & (y <= np.maximum(ay, by)) & (rise != 0)
        at = ax + (y - ay) / np.where(rise != 0, rise, 1) * (bx - ax)
        reachable = np.flatnonzero(crosses & (at <= x))
        if len(reachable):
            edge = int(reachable[np.argmax(at[reachable])])
            foot = np.array([[at[edge], y]])
        else:  # simplification has moved the outline into the hole: the slit may lie anywhere
            edge, foot = 0, polygon[:1]
        polygon = np.concatenate([polygon[: edge + 1], foot, hole, hole[:1], foot, polygon[edge + 1 :]])
    return polygon
