"""Exporters for FiftyOne's own ``view.export(dataset_exporter=...)``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

    def __init__(
        self,
        export_dir: str | Path,
        field: str | None = None,
        format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(export_dir=str(export_dir))
        self.field = field
        self.format = format or self.default_format
        self.options = options
        self.result: ExportResult | None = None

    def export_samples(self, sample_collection: foc.SampleCollection, progress: Any = None) -> None:
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
    """Progress in FiftyOne's own way: its bars, or the caller's callback.

    Args:
        wanted: FiftyOne's argument ``progress``: a flag, ``None`` for its configuration, or a callback.
    """

    def __init__(self, wanted: Any) -> None:
        self.wanted = wanted

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "img") -> Iterator[Any]:
        """Open a bar."""
        import fiftyone.core.utils as fou

        with fou.ProgressBar(total=total, progress=self.wanted) as bar:
            yield bar


class CocoInstancesExporter(SegmentationExporter):
    """COCO instances: connected components, or given instances."""


class CocoResultsExporter(SegmentationExporter):
    """COCO results with scores."""

    default_format = "coco-results"


class CocoPanopticExporter(SegmentationExporter):
    """COCO panoptic."""

    default_format = "coco-panoptic"


class CocoStuffExporter(SegmentationExporter):
    """COCO stuff."""

    default_format = "coco-stuff"


class VocExporter(SegmentationExporter):
    """Pascal VOC SegmentationClass."""

    default_format = "voc"


class MasksExporter(SegmentationExporter):
    """Plain masks and ``classes.json``."""

    default_format = "masks"


class YoloExporter(SegmentationExporter):
    """YOLO segmentation."""

    default_format = "yolo"


class CvatExporter(SegmentationExporter):
    """CVAT segmentation mask 1.1."""

    default_format = "cvat"


class HuggingFaceExporter(SegmentationExporter):
    """Hugging Face imagefolder."""

    default_format = "huggingface"


class LabelStudioExporter(SegmentationExporter):
    """Label Studio brush tasks."""

    default_format = "label-studio"


class MmsegmentationExporter(SegmentationExporter):
    """mmsegmentation."""

    default_format = "mmsegmentation"


class UltralyticsSemanticExporter(SegmentationExporter):
    """Ultralytics semantic segmentation."""

    default_format = "ultralytics-semantic"
