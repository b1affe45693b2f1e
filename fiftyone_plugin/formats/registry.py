"""The formats of an export by name."""

from __future__ import annotations

from functools import cache

from ..errors import unknown
from .base import Writer

__all__ = ["formats", "get_format"]


@cache
def formats() -> dict[str, type[Writer]]:
    """Return the formats by name."""
    from .coco import CocoWriter, PanopticWriter, ResultsWriter, StuffWriter
    from .cvat import CvatWriter
    from .label_studio import LabelStudioWriter
    from .masks import MasksWriter
    from .training import HuggingFaceWriter, MmsegWriter, UltralyticsWriter
    from .voc import VocWriter
    from .yolo import YoloWriter

    coco = (CocoWriter, PanopticWriter, StuffWriter, ResultsWriter)
    training = (UltralyticsWriter, MmsegWriter, HuggingFaceWriter)
    found = (*coco, VocWriter, MasksWriter, YoloWriter, *training, CvatWriter, LabelStudioWriter)
    return {entry.name: entry for entry in found}


def get_format(name: str) -> type[Writer]:
    """Return a format.

    Raises:
        UsageError: there is none of this name.
    """
    known = formats()
    if name not in known:
        raise unknown("format", name, known)
    return known[name]
