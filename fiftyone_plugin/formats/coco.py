"""COCO's annotation dictionaries from segments: instances, results, stuff.

Sources: https://cocodataset.org/#format-data and https://cocodataset.org/#format-results; the meaning
of RLE and polygons is that of pycocotools. ``area`` is the number of pixels, ``bbox`` the tight box.
"""

from __future__ import annotations

from typing import Any

from ..masks.polygons import segment_polygons
from ..masks.segments import Segments, segment_rles
from .categories import Categories
from .coco_shapes import decode_segmentation, segmentation_rle

__all__ = ["coco_annotations", "coco_categories", "coco_results", "decode_segmentation", "segmentation_rle"]


def coco_categories(categories: Categories) -> list[dict[str, Any]]:
    """Return the category list; ``class_id`` is the id in masks, ``isthing`` is 1 for countable ones."""
    return [
        {
            "id": item.id,
            "name": item.name,
            "supercategory": item.supercategory,
            "isthing": int(item.is_thing),
            "class_id": item.class_id,
        }
        for item in categories.items
    ]


def coco_annotations(
    segments: Segments,
    *,
    polygons: bool = False,
    tolerance: float = 0,
    attributes: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Return an annotation for every segment, without ``id`` and ``image_id``.

    Args:
        segments: segments labelled with category ids.
        polygons: write polygons instead of compressed RLE; area and box stay those of the pixels.
        tolerance: of the polygons, see :func:`~fiftyone_plugin.masks.polygons.mask_polygons`.
        attributes: further members of each annotation, e.g. ``{"quality": 0.8}``.
    """
    shapes: list[Any]
    if polygons:
        shapes = [
            [[_number(value) for value in ring.ravel()] for ring in rings]
            for rings in segment_polygons(segments, tolerance)
        ]
    else:
        shapes = segment_rles(segments)
    return [
        {
            "category_id": label,
            "segmentation": shape,
            "area": area,
            "bbox": box,
            "iscrowd": 0,
            **({"instance": instance} if instance else {}),
            **(attributes or {}),
        }
        for label, shape, area, box, instance in zip(
            segments.label.tolist(),
            shapes,
            segments.area.tolist(),
            segments.box.tolist(),
            segments.instance.tolist(),
            strict=True,
        )
    ]


def coco_results(segments: Segments, score: float) -> list[dict[str, Any]]:
    """Return a result for every segment, without ``image_id``; ``loadRes`` adds area and box itself.

    Args:
        segments: segments labelled with category ids.
        score: confidence of all of them, in [0, 1].
    """
    return [
        {"category_id": label, "segmentation": rle, "bbox": box, "score": score}
        for label, rle, box in zip(
            segments.label.tolist(), segment_rles(segments), segments.box.tolist(), strict=True
        )
    ]


def _number(value: float) -> float | int:
    """Whole numbers without ``.0``, others to a hundredth of a pixel: files get a third smaller."""
    return int(value) if value == int(value) else round(float(value), 2)
