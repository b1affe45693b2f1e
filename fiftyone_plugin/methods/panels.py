"""An earlier place of :class:`.base.SegmentationMethod`, all of which can be asked for their stages."""

from .base import SegmentationMethod as Explainable

__all__ = ["Explainable"]
