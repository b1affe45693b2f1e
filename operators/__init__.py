"""Thin FiftyOne operators and panels, one file each; no algorithm lives here."""

from __future__ import annotations

from fiftyone.plugins.context import PluginContext

__all__ = ["operator_classes", "register"]


def operator_classes() -> tuple[type, ...]:
    """Return every operator and panel class of the plugin; ``fiftyone.yml`` lists the same, by name.

    FiftyOne silently drops a class whose name the manifest lacks; a test compares the two.
    """
    from .add_overlay import AddOverlay
    from .compare_runs import CompareRuns
    from .detections_to_masks import DetectionsToMasks
    from .evaluate_masks import EvaluateMasks
    from .export_masks import ExportMasks
    from .hide_classes import HideClasses
    from .import_masks import ImportMasks
    from .label_dataset import LabelDataset
    from .masks_to_detections import MasksToDetections
    from .metrics import METRIC_CLASSES
    from .name_classes import NameClasses
    from .panel.pseudomasks import PseudoMasksPanel
    from .preview_masks import PreviewMasks
    from .propagate_corrections import PropagateCorrections
    from .quick_label import QuickLabel
    from .rename_classes import RenameClasses
    from .resume_run import ResumeRun
    from .sample_frames import SampleFrames
    from .save_ontology import SaveOntology
    from .save_views import SaveViews
    from .show_anew import ShowAnew
    from .split_class import SplitClass
    from .stop_run import StopRun
    from .suggest_images import SuggestImages
    from .suggest_names import SuggestNames
    from .undo_edit import UndoEdit

    return (
        LabelDataset,
        QuickLabel,
        PreviewMasks,
        SampleFrames,
        StopRun,
        ResumeRun,
        EvaluateMasks,
        ExportMasks,
        ImportMasks,
        NameClasses,
        RenameClasses,
        HideClasses,
        SplitClass,
        MasksToDetections,
        DetectionsToMasks,
        PropagateCorrections,
        UndoEdit,
        CompareRuns,
        SaveViews,
        ShowAnew,
        SaveOntology,
        AddOverlay,
        SuggestImages,
        SuggestNames,
        PseudoMasksPanel,
        *METRIC_CLASSES,
    )


def register(plugin: PluginContext) -> None:
    """Register all classes with FiftyOne's plugin context."""
    for cls in operator_classes():
        plugin.register(cls)
