"""Masks from the annotations of a COCO file."""

from __future__ import annotations

import os

import numpy as np

from ..common.files import inside
from ..common.skipped import Skipped
from ..errors import ImageReadError, UsageError
from ..images.reading import MAX_PIXELS, image_size
from ..masks.files import read_colours
from .coco import rgb_to_id
from .coco_reading import CocoFile, CocoImage, LostAnnotation, annotation_key, image_candidates, segments_of
from .coco_shapes import segmentation_rle

__all__ = ["draw_image"]


def draw_image(file: CocoFile, image: CocoImage, path: str | None, lost: list[Skipped]) -> np.ndarray:
    """Return the (H, W) uint16 mask ids of an image of a COCO file; 0 where no annotation is.

    Its size is that of the image at ``path``, if that is known, where the file gives none; annotations that
    cannot be used are added to ``lost``.

    Raises:
        ImageReadError: the PNG of a panoptic annotation cannot be read.
        UsageError: its annotations are not known, its size is none, or it has annotations and none is usable.
    """
    if image.problem:
        raise UsageError(image.problem)
    before = len(lost)
    if any("segments_info" in entry for entry, _ in image.entries):
        mask = _panoptic_mask(file, image, lost)
    else:
        mask = _instance_mask(file, image, path, lost)
    if not mask.any() and (len(lost) > before or image.named > len(image.entries)):
        first = f": {lost[before].reason}" if len(lost) > before else ""
        raise UsageError(f"none of its {image.named} annotations can be used{first}")
    return mask


def _instance_mask(file: CocoFile, image: CocoImage, path: str | None, lost: list[Skipped]) -> np.ndarray:
    """Draw annotations, large ones first, so that small ones on top of them stay visible."""
    from pycocotools import mask as coco_mask

    height, width = _size(file, image, path)
    shapes = []
    for entry, mask_id in image.entries:
        shape = _shape(entry, height, width)
        if isinstance(shape, str):
            lost.append(LostAnnotation(f"{image.name}, {annotation_key(entry)}", shape))
        else:
            shapes.append((*shape, mask_id))
    mask = np.zeros((height, width), np.uint16)
    for rle, _, mask_id in sorted(shapes, key=lambda shape: -shape[1]):
        x, y, w, h = coco_mask.toBbox(rle).astype(int)
        covered = coco_mask.decode([rle])[y : y + h, x : x + w, 0].astype(bool)
        mask[y : y + h, x : x + w][covered] = mask_id
    return mask


def _shape(entry: dict[str, object], height: int, width: int) -> tuple[dict[str, object], int] | str:
    """Return the RLE of an annotation and its area, or why it cannot be drawn."""
    from pycocotools import mask as coco_mask

    segmentation = entry.get("segmentation")
    if segmentation in (None, [], [[]]):
        return "a box without an outline" if "bbox" in entry else "no outline"
    try:
        rle = segmentation_rle(segmentation, height, width)
    except UsageError as error:
        return str(error)
    area = int(coco_mask.area(rle))
    return (rle, area) if area else "it covers no pixel of the image"


def _size(file: CocoFile, image: CocoImage, path: str | None) -> tuple[int, int]:
    """Return (height, width): what the file says, else an RLE, else the image."""
    height, width = image.height, image.width
    if height is None or width is None:
        sizes = {size for entry, _ in image.entries if (size := _rle_size(entry.get("segmentation")))}
        if len(sizes) == 1:
            height, width = sizes.pop()
        else:
            candidates = [path] if path is not None else image_candidates(file, image)
            found = next(filter(os.path.isfile, candidates), None)
            if found is None:
                raise UsageError(
                    "its size is not known: no width and height, no RLE, and the image is not found"
                )
            height, width = image_size(found)
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise UsageError(f"an image of {width} x {height} pixels")
    return height, width


def _rle_size(segmentation: object) -> tuple[int, int] | None:
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    return (size[0], size[1]) if isinstance(size, list) and [*map(type, size)] == [int, int] else None


# ---------------------------------------------------------------------- panoptic


def _panoptic_mask(file: CocoFile, image: CocoImage, lost: list[Skipped]) -> np.ndarray:
    if len(image.entries) != 1:
        raise UsageError(f"{len(image.entries)} panoptic annotations; an image has one")
    entry, _ = image.entries[0]
    name = entry.get("file_name")
    png = inside(file.path.with_suffix(""), name) if isinstance(name, str) else None
    if png is None:
        raise UsageError(f"the PNG's name leads out of its folder: {str(name)[:200]!r}")
    segments = rgb_to_id(read_colours(png))
    if None not in (image.height, image.width) and segments.shape != (image.height, image.width):
        raise ImageReadError(png, f"has the shape {segments.shape}, not that of its image")
    found, inverse = np.unique(segments, return_inverse=True)
    present, classes = set(found.tolist()), dict[int, int]()
    described = set()
    for segment in segments_of(entry):
        id_ = segment.get("id")
        try:
            if type(id_) is not int or id_ not in present:
                raise UsageError("it has no pixel in the PNG")
            if id_ in classes:
                raise UsageError("another segment has its id")
            described.add(id_)
            classes[id_] = file.mask_id(segment.get("category_id"))
        except UsageError as error:
            lost.append(LostAnnotation(f"{image.name}, segment {str(id_)[:60]}", str(error)))
    unknown = [value for value in found.tolist() if value and value not in described]
    if unknown:
        listed = ", ".join(map(str, unknown[:5]))
        lost.append(
            LostAnnotation(f"{image.name}, {len(unknown)} segments of the PNG", f"not described: {listed}")
        )
    values = np.array([classes.get(value, 0) for value in found.tolist()], np.uint16)
    return values[inverse.reshape(segments.shape)]
