"""What a method shows of its stages on one image: panels, drawn by ``pseudomask explain``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from ..features.types import ImageFeatures

__all__ = ["Explainable", "Panel", "PanelKind"]

PanelKind = Literal["photo", "labels", "heat"]


@dataclass(frozen=True)
class Panel:
    """One stage of a method on one image.

    Attributes:
        title: caption, a few words; numbers that matter belong here, e.g. ``"4 communities"``.
        array: by kind, at any resolution that covers the whole image:
            ``photo``: (h, w, 3) uint8 RGB, shown as it is;
            ``labels``: (h, w) int, drawn in class colours over the photo; 0 is left uncoloured;
            ``heat``: (h, w) float, drawn from its lowest value (dark) to its highest (bright).
        kind: see ``array``.
        mark: (row, column) of a cell of ``array`` to outline.
    """

    title: str
    array: np.ndarray
    kind: PanelKind
    mark: tuple[int, int] | None = None


@runtime_checkable
class Explainable(Protocol):
    """Optional part of the contract of a method: the stages between the photo and the final mask."""

    def explain(self, image: ImageFeatures) -> list[Panel]:
        """Return the panels of a fitted method for one image, in the order of the stages.

        The photo before them and the final mask after them are added by the caller.

        Raises:
            ImageReadError: the image cannot be read any more.
        """
