"""Masks in the formats of other tools, and back: COCO, VOC, YOLO, plain PNG.

Pure converters from arrays to annotations, thin streaming writers, and what reads exports back. May import
dataset, runs, and every room that they may.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .exporting import ExportResult, export
    from .fiftyone_exporters import (
        CocoInstancesExporter,
        CocoPanopticExporter,
        CocoResultsExporter,
        CocoStuffExporter,
        CvatExporter,
        HuggingFaceExporter,
        LabelStudioExporter,
        MasksExporter,
        MmsegmentationExporter,
        SegmentationExporter,
        UltralyticsSemanticExporter,
        VocExporter,
        YoloExporter,
    )
    from .fiftyone_import import import_masks
    from .importing import ImportResult, read_masks

__all__ = [
    "CocoInstancesExporter",
    "CocoPanopticExporter",
    "CocoResultsExporter",
    "CocoStuffExporter",
    "CvatExporter",
    "ExportResult",
    "HuggingFaceExporter",
    "ImportResult",
    "LabelStudioExporter",
    "MasksExporter",
    "MmsegmentationExporter",
    "SegmentationExporter",
    "UltralyticsSemanticExporter",
    "VocExporter",
    "YoloExporter",
    "export",
    "import_masks",
    "read_masks",
]

_LAZY = {
    "ExportResult": "exporting",
    "ImportResult": "importing",
    "export": "exporting",
    "import_masks": "fiftyone_import",
    "read_masks": "importing",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LAZY.get(name, 'fiftyone_exporters')}", __name__), name)
