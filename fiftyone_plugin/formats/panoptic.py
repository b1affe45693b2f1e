"""COCO panoptic: a PNG of segment ids and their description.

Source: https://cocodataset.org/#format-data, section 4; id = R + 256 G + 65536 B, 0 is void.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..masks.segments import Segments

__all__ = ["id_to_rgb", "panoptic_segments", "rgb_to_id"]


def id_to_rgb(ids: np.ndarray) -> np.ndarray:
    """Turn (H, W) segment ids within 0..16,777,215 into (H, W, 3) uint8 colours."""
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)


def rgb_to_id(colours: np.ndarray) -> np.ndarray:
    """Turn (H, W, 3 or 4) uint8 colours into (H, W) uint32 segment ids; an alpha channel does not count."""
    red, green, blue = (colours[..., i].astype(np.uint32) for i in range(3))
    return red + (green << 8) + (blue << 16)


def panoptic_segments(
    segments: Segments, attributes: dict[str, Any] | None = None
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return the (H, W, 3) uint8 PNG and the ``segments_info`` of an image.

    Ids are 1, 2, ... in each image, in the order of the segments.
    """
    info = [
        {"id": index, "category_id": label, "area": area, "bbox": box, "iscrowd": 0, **(attributes or {})}
        for index, (label, area, box) in enumerate(
            zip(segments.label.tolist(), segments.area.tolist(), segments.box.tolist(), strict=True), 1
        )
    ]
    return id_to_rgb(segments.to_map()), info
