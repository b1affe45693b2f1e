"""Published scores, to stand beside those that are measured: they were not measured here."""

from __future__ import annotations

from fiftyone_plugin.common.tables import format_table

__all__ = ["ANCHORS", "anchors_for", "beside"]

Anchor = tuple[str, str, float, float | None]

ANCHORS: dict[str, tuple[Anchor, ...]] = {
    "coco-stuff-27": (
        ("count-hungarian", "CAUSE, DINOv2 ViT-B/14, trained head", 45.3, 78.0),
        ("count-hungarian", "CAUSE, DINO ViT-S/8, trained head", 32.4, 69.6),
        ("count-hungarian", "PriMaPs-EM, DINOv2 ViT-S/14", 23.8, 46.5),
        ("count-hungarian", "k-means, DINOv2 ViT-S/14", 22.9, None),
    ),
    "cityscapes-27": (
        ("count-hungarian", "CAUSE, DINOv2 ViT-B/14, trained head", 29.9, 89.8),
        ("count-hungarian", "PriMaPs-EM, DINOv2 ViT-S/14", 19.0, 71.5),
    ),
    "potsdam-3": (("count-hungarian", "PriMaPs-EM, DINOv2 ViT-B/14", 71.1, 83.2),),
    "voc-2012-val": (
        ("count-hungarian", "CAUSE, iBOT ViT-B/16, trained head, CRF", 53.4, 89.6),
        ("iou-hungarian", "COMUS, DINO ViT-S/8, trained network", 50.0, None),
        ("iou-hungarian", "MaskDistill, trained network, CRF", 48.9, None),
        ("majority", "NeCo, DINOv2 ViT-S/14 with registers, K = 500", 72.6, None),
        ("majority", "DINOv3 ViT-B/16, K = 100", 59.1, None),
    ),
    "coco-2017-val": (
        ("count-hungarian", "CAUSE, DINO ViT-S/8, trained head", 21.2, 75.2),
        ("iou-hungarian", "COMUS, DINO ViT-S/8, trained network", 19.6, None),
    ),
}
"""Data set -> protocol, method and backbone, mIoU and pixel accuracy in %."""


def anchors_for(data: str, against: str | None, protocol: str) -> tuple[Anchor, ...]:
    """Return what was published on a data set under a protocol.

    Args:
        data: name of the data set, in any writing of dashes.
        against: name among :data:`ANCHORS`, where the data's own name is another.
        protocol: what was measured here.
    """
    found = ANCHORS.get(against or data.lower().replace("_", "-"), ())
    return tuple(anchor for anchor in found if anchor[0] == protocol)


def beside(anchors: tuple[Anchor, ...]) -> str:
    """Return a table of published scores, or nothing."""
    if not anchors:
        return ""
    rows = [[method, f"{miou:.1f}", "" if pa is None else f"{pa:.1f}"] for _, method, miou, pa in anchors]
    return "published, to beat\n" + format_table(["method", "miou", "pixel accuracy"], rows) + "\n"
