"""Thin FiftyOne operators and panels, one file each; no algorithm lives here."""

from __future__ import annotations

from importlib import import_module

import fiftyone.operators as foo
from fiftyone.plugins.context import PluginContext

__all__ = ["operator_classes", "register"]

OPERATORS = (
    "label_dataset",
    "quick_label",
    "preview_masks",
    "sample_frames",
    "stop_run",
    "resume_run",
    "evaluate_masks",
    "export_masks",
    "import_masks",
    "name_classes",
    "rename_classes",
    "hide_classes",
    "split_class",
    "masks_to_detections",
    "detections_to_masks",
    "propagate_corrections",
    "undo_edit",
    "compare_runs",
    "save_views",
    "show_anew",
    "save_ontology",
    "add_overlay",
    "suggest_images",
    "suggest_names",
)


def operator_classes() -> tuple[type[foo.Operator], ...]:
    """Return every operator and panel class of the plugin; ``fiftyone.yml`` lists the same, by name.

    The class of an operator is called as its file, ``LabelDataset`` in ``label_dataset.py``. FiftyOne drops
    silently what the manifest lacks; a test compares the two.
    """
    from .metrics import METRIC_CLASSES
    from .panel.pseudomasks import PseudoMasksPanel

    modules = [import_module(f".{name}", __name__) for name in OPERATORS]
    names = [name.title().replace("_", "") for name in OPERATORS]
    return (*map(getattr, modules, names), PseudoMasksPanel, *METRIC_CLASSES)


def register(plugin: PluginContext) -> None:
    """Register all classes with FiftyOne's plugin context."""
    for cls in operator_classes():
        plugin.register(cls)
