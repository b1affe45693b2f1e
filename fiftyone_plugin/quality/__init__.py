"""How good a mask probably is, without ground truth."""

from .calibration import QualityCalibration, filtering_curve
from .scores import confidence_map, image_quality, margin, segment_quality

__all__ = [
    "QualityCalibration",
    "confidence_map",
    "filtering_curve",
    "image_quality",
    "margin",
    "segment_quality",
]
