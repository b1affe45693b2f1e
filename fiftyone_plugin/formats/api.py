"""The public function :func:`export`: whatever holds masks, into any format."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..common.progress import Progress
from ..errors import UsageError
from .base import ExportOptions
from .exporting import ExportResult, export_source

__all__ = ["export"]


def export(
    source: Any,
    field: str | None = None,
    *,
    out: str | Path,
    format: str = "coco-instances",
    classes: Iterable[str | int] | None = None,
    ignore: Iterable[int] = (),
    stuff: Iterable[str | int] = (),
    supercategories: dict[str, str] | None = None,
    instances_field: str | None = None,
    quality_field: str | None = None,
    overwrite: bool = False,
    jobs: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> ExportResult:
    """Export masks in a format that other tools read.

    Args:
        source: FiftyOne dataset or view, or a folder: the output of ``label``, or images/ and masks/.
        field: with a dataset or view, its Segmentation field; ``None`` if there is only one.
        out: folder of the export; must not exist, or be empty.
        format: ``coco-instances``, ``coco-results``, ``coco-panoptic``, ``coco-stuff``, ``voc``, ``masks`` or
            ``yolo``.
        classes: names or mask ids to export; ``None`` for all.
        ignore: mask ids that mean unlabelled, besides 0.
        stuff: names or ids of classes that are not countable.
        supercategories: class name -> supercategory.
        instances_field: Segmentation field with instance ids, instead of connected components.
        quality_field: field of the masks' quality; ``None`` for ``<field>_quality`` if it exists.
        overwrite: replace an earlier export in ``out``.
        jobs: processes; 0 for all cores.
        progress: where stages report to.
        options: fields of :class:`~fiftyone_plugin.formats.base.ExportOptions`, e.g. ``min_area=100``,
            ``splits=("train", "val")``, ``images="symlink"``, ``polygons=True``.

    Returns:
        What was written, with the images left out and why.

    Raises:
        UsageError: impossible choices, or ``out`` is taken.
        PseudoMaskError: ``out`` cannot be written, or not one image could be exported.

    Example:
        >>> from fiftyone_plugin import export
        >>> result = export("labels", out="coco", min_area=64)  # doctest: +SKIP
        >>> result.images, result.annotations  # doctest: +SKIP
        (120, 431)
    """
    try:
        chosen = ExportOptions(**{**options, "splits": tuple(options.get("splits", ()))})
    except TypeError as error:
        raise UsageError(f"unknown option of an export: {error}") from error
    if isinstance(source, (str, os.PathLike)):
        from .sources import folder_source

        if field or instances_field or quality_field:
            raise UsageError("fields belong to a FiftyOne dataset; a folder has masks/ and instances/")
        found = folder_source(Path(source))
    else:
        from .fiftyone_source import view_source

        found = view_source(source, field, instances_field=instances_field, quality_field=quality_field)
    return export_source(
        found,
        out,
        format,
        classes=classes,
        ignore=ignore,
        stuff=stuff,
        supercategories=supercategories,
        options=chosen,
        overwrite=overwrite,
        jobs=jobs,
        progress=progress,
    )
