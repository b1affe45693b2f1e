"""Exporters for FiftyOne's own ``view.export(dataset_exporter=...)``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone.core.utils as fou
import fiftyone.utils.data as foud

from .exporting import ExportResult, export

if TYPE_CHECKING:
    import fiftyone.core.collections as foc


__all__ = [
    "CocoInstancesExporter",
    "CocoPanopticExporter",
    "CocoResultsExporter",
    "CocoStuffExporter",
    "CvatExporter",
    "HuggingFaceExporter",
    "LabelStudioExporter",
    "MasksExporter",
    "MmsegmentationExporter",
    "SegmentationExporter",
    "UltralyticsSemanticExporter",
    "VocExporter",
    "YoloExporter",
]

Bars = bool | Callable[[fou.ProgressBar], None] | None  # as FiftyOne takes it; ``None``: its configuration


class SegmentationExporter(foud.BatchDatasetExporter):
    """Exports a Segmentation field in any format of this package.

    Args:
        export_dir: folder of the export.
        field: the Segmentation field; ``None`` if there is only one.
        format: name of the format.
        options: other arguments of :func:`fiftyone_plugin.formats.exporting.export`.

    Attributes:
        result: what was written, once that is done.

    Example:
        >>> from fiftyone_plugin.formats import CocoInstancesExporter
        >>> view.export(dataset_exporter=CocoInstancesExporter("coco", "pseudo_mask"))  # doctest: +SKIP
    """

    default_format = "coco-instances"

    def __init_subclass__(cls, format: str | None = None) -> None:
        """Make a class for a format of its own."""
        cls.default_format = format or cls.default_format

    def __init__(
        self, export_dir: str | Path, field: str | None = None, format: str | None = None, **options: Any
    ) -> None:
        super().__init__(export_dir=str(export_dir))
        self.field = field
        self.format = format or self.default_format
        self.options = options
        self.result: ExportResult | None = None

    def export_samples(self, sample_collection: foc.SampleCollection, progress: Bars = None) -> None:
        """Export a dataset or view; called by FiftyOne."""
        self.result = export(
            sample_collection,
            self.field,
            out=self.export_dir,
            format=self.format,
            progress=_Bars(progress),
            **self.options,
        )


class _Bars:
    """Progress in FiftyOne's own way: its bars, or the caller's callback; ``wanted`` is its ``progress``."""

    def __init__(self, wanted: Bars) -> None:
        self.wanted = wanted

    def stage(self, name: str, total: int | None = None, unit: str = "img") -> fou.ProgressBar:
        """Open a bar."""
        return fou.ProgressBar(total=total, progress=self.wanted)


class CocoInstancesExporter(SegmentationExporter):
    """COCO instances: connected components, or given instances."""


class CocoResultsExporter(SegmentationExporter, format="coco-results"):
    """COCO results with scores."""


class CocoPanopticExporter(SegmentationExporter, format="coco-panoptic"):
    """COCO panoptic."""


class CocoStuffExporter(SegmentationExporter, format="coco-stuff"):
    """COCO stuff."""


class VocExporter(SegmentationExporter, format="voc"):
    """Pascal VOC SegmentationClass."""


class MasksExporter(SegmentationExporter, format="masks"):
    """Plain masks and ``classes.json``."""


class YoloExporter(SegmentationExporter, format="yolo"):
    """YOLO segmentation."""


class CvatExporter(SegmentationExporter, format="cvat"):
    """CVAT segmentation mask 1.1."""


class HuggingFaceExporter(SegmentationExporter, format="huggingface"):
    """Hugging Face imagefolder."""


class LabelStudioExporter(SegmentationExporter, format="label-studio"):
    """Label Studio brush tasks."""


class MmsegmentationExporter(SegmentationExporter, format="mmsegmentation"):
    """mmsegmentation."""


class UltralyticsSemanticExporter(SegmentationExporter, format="ultralytics-semantic"):
    """Ultralytics semantic segmentation."""
