"""What a method shows of its stages on one image: panels, drawn by ``pseudomask explain``."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ..features.types import ImageFeatures
from ..images.drawing import Panel

__all__ = ["Explainable"]


@runtime_checkable
class Explainable(Protocol):
    """Optional part of the contract of a method: the stages between the photo and the final mask."""

    def explain(self, image: ImageFeatures) -> list[Panel]:
        """Return the panels of a fitted method for one image, in the order of the stages.

        The photo before them and the final mask after them are added by the caller.

        Raises:
            ImageReadError: the image cannot be read any more.
        """
