"""Edits of the masks of a finished run: hide, merge and split classes, fold corrections in, propagate them.

Every edit is recorded with the run and can be taken back, the last one first. What each of them does is told
in docs/editing.md. All take a dataset, or any view of it, for classes and edits belong to the whole dataset;
``field``, the mask field of a finished run; and, where it takes long, where to report ``progress`` to.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .classes import hide_classes, merge_classes, merge_same_names, show_classes
    from .corrections import propagate_corrections
    from .detections import detections_to_masks, masks_to_detections
    from .history import list_edits
    from .opening import undo_edit
    from .split import split_class

__all__ = ["detections_to_masks", "hide_classes", "list_edits", "masks_to_detections", "merge_classes"]
__all__ += ["merge_same_names", "propagate_corrections", "show_classes", "split_class", "undo_edit"]

_MODULES = {
    "classes": ("hide_classes", "merge_classes", "merge_same_names", "show_classes"),
    "corrections": ("propagate_corrections",),
    "detections": ("detections_to_masks", "masks_to_detections"),
    "history": ("list_edits",),
    "opening": ("undo_edit",),
    "split": ("split_class",),
}


def __getattr__(name: str) -> object:
    """Import a function when it is first asked for: the App's forms must not wait for clustering."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
