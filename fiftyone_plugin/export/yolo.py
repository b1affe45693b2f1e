"""YOLO segmentation labels: a text file an image, ``class x1 y1 x2 y2 ...`` a line, relative to the image.

Source: https://docs.ultralytics.com/datasets/segment/. Classes count from 0; one line has one polygon, so a
hole is joined to the outline by a slit, and parts of one segment become lines of their own.
"""

from __future__ import annotations

from .polygons import segment_polygons
from .runs import Segments

__all__ = ["yolo_lines"]


def yolo_lines(segments: Segments, tolerance: float = 0) -> list[str]:
    """Return the lines of an image's label file, coordinates in [0, 1] with six digits.

    Args:
        segments: segments labelled with category ids, from 1.
        tolerance: of the polygons in pixels, see :func:`~fiftyone_plugin.export.polygons.mask_polygons`.
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
