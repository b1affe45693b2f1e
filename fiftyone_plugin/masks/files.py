"""Mask files: class ids in one channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ..common.files import atomic
from ..errors import UsageError

__all__ = ["write_mask"]


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write an (H, W) mask of class ids as a single-channel PNG: uint8, or uint16 if an id exceeds 255.

    The file appears whole or not at all.

    Raises:
        UsageError: an id is negative or above 65,535.
    """
    low, high = int(mask.min()), int(mask.max())
    if low < 0 or high > 65_535:
        raise UsageError(f"{path}: class ids must be within 0..65535, got {low}..{high}")
    dtype: type = np.uint8 if high <= 255 else np.uint16
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as partial:
        Image.fromarray(mask.astype(dtype)).save(partial, format="PNG")
