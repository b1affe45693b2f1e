"""YOLO segmentation labels: a text file an image, ``class x1 y1 x2 y2 ...`` a line, relative to the image.

Source: https://docs.ultralytics.com/datasets/segment/. Classes count from 0; one line has one polygon, so a
hole is joined to the outline by a slit, and parts of one segment become lines of their own.

The labels of an image are found by replacing the last ``/images/`` of its path with ``/labels/``
(``img2label_paths`` of ultralytics.data.utils): no folder below ``images/`` may have that name.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from ..masks.polygons import segment_polygons
from ..masks.segments import Segments

__all__ = ["VALIDATION", "train_and_validation", "yolo_folder", "yolo_lines"]

TRAIN = "train"
VALIDATION = ("val", "valid", "validation", "dev")  # what splits for validation are called, the best first
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

    Args:
        segments: segments labelled with category ids, from 1.
        tolerance: of the polygons in pixels, see :func:`~fiftyone_plugin.masks.polygons.mask_polygons`.
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
