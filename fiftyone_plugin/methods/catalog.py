"""The methods in words, for forms; light, unlike the modules that implement them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CATALOG", "MethodNote"]


@dataclass(frozen=True)
class MethodNote:
    """What a person needs to choose a method.

    Attributes:
        label: its name in forms.
        note: one line.
        finds_classes: ``classes`` may be ``auto``.
    """

    label: str
    note: str
    finds_classes: bool = False


CATALOG: dict[str, MethodNote] = {
    "mosaic": MethodNote(
        "mosaic (default)",
        "Regions cut in several ways, on one graph over all images, then a linear head",
        finds_classes=True,
    ),
    "lightcluster": MethodNote(
        "LightCluster", "Three levels of clustering of patches, foreground first; the fastest"
    ),
    "datus": MethodNote("DatUS²", "Segments from communities of patches, clustered over the data set"),
    "alignseg": MethodNote("AlignSeg", "A decoder with prototypes, trained here; the slowest by far"),
}
"""By the names of :func:`.base.list_methods`, in that order."""
