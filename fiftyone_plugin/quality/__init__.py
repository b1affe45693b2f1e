"""How good a mask probably is, without ground truth."""

from .scores import confidence_map, image_quality, margin, segment_quality

__all__ = ["confidence_map", "image_quality", "margin", "segment_quality"]
