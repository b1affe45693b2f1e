"""Edits of the masks of a finished run: hide, merge and split classes, fold corrections in, propagate them.

Every edit is recorded with the run and can be taken back, the last one first. What each of them does is told
in docs/editing.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .classes import hide_classes, merge_classes, merge_same_names, show_classes
    from .corrections import propagate_corrections
    from .detections import detections_to_masks, masks_to_detections
    from .edits import list_edits, undo_edit
    from .split import split_class

__all__ = [
    "detections_to_masks",
    "hide_classes",
    "list_edits",
    "masks_to_detections",
    "merge_classes",
    "merge_same_names",
    "propagate_corrections",
    "show_classes",
    "split_class",
    "undo_edit",
]

_MODULES = {
    "detections_to_masks": "detections",
    "hide_classes": "classes",
    "list_edits": "edits",
    "masks_to_detections": "detections",
    "merge_classes": "classes",
    "merge_same_names": "classes",
    "propagate_corrections": "corrections",
    "show_classes": "classes",
    "split_class": "split",
    "undo_edit": "edits",
}


def __getattr__(name: str) -> Any:
    """Import a function when it is first asked for: the App's forms must not wait for clustering."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
