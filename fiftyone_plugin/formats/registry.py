"""The formats of an export by name."""

from __future__ import annotations

from ..errors import unknown
from .base import Format

__all__ = ["formats", "get_format"]


def formats() -> dict[str, Format]:
    """Return the formats by name."""
    from . import coco, cvat, label_studio, masks, training, voc, yolo

    rooms = (coco, voc, masks, yolo, training, cvat, label_studio)
    return {entry.name: entry for room in rooms for entry in room.FORMATS}


def get_format(name: str) -> Format:
    """Return a format.

    Raises:
        UsageError: there is none of this name.
    """
    known = formats()
    if name not in known:
        raise unknown("format", name, known)
    return known[name]
