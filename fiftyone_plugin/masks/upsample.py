"""Resizing of soft scores."""

from __future__ import annotations

import numpy as np
from PIL import Image

__all__ = ["fit_within", "resize_scores"]


def resize_scores(scores: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize score maps bilinearly with pixel centres aligned (``align_corners=False``).

    Shrinking is antialiased (Pillow's triangle filter widens with the factor), so that a map brought down to
    a working resolution keeps its mass.

    Args:
        scores: (L, h, w) float.
        height: target height in pixels.
        width: target width in pixels.

    Returns:
        (L, height, width) float32. Sums over L are kept, up to rounding.
    """
    scores = np.asarray(scores, dtype=np.float32)
    if scores.shape[1:] == (height, width):
        return scores
    size = (width, height)
    return np.stack(
        [np.asarray(Image.fromarray(s).resize(size, Image.Resampling.BILINEAR), np.float32) for s in scores]
    )


def fit_within(height: int, width: int, max_side: int | None) -> tuple[int, int]:
    """Return (height, width) scaled down, aspect kept, so that the longer side is at most ``max_side``."""
    if max_side is None or max(height, width) <= max_side:
        return height, width
    scale = max_side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))
