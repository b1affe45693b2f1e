"""From the pixel types that files have to 8-bit RGB."""

from __future__ import annotations

import numpy as np
from PIL import Image

__all__ = ["to_rgb"]


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a decoded image in mode ``RGB``; see :mod:`.reading` for how other modes become that."""
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_deep_grey_to_8_bit(image)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(rgba, mask=rgba)
    return white


def _deep_grey_to_8_bit(image: Image.Image) -> np.ndarray:
    """Return (H, W) uint8 for the modes ``I;16*``, ``I`` and ``F``, as the module says."""
    values = np.asarray(image)
    # 16-bit PNG and PNM are opened as "I" by some versions of Pillow
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        grey = (values >> 8).clip(0, 255).astype(np.uint8)
    else:
        with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN like any other
            wide = values.astype(np.float64)
        grey = _stretch(wide, unit_range=image.mode == "F")
    key = image.info.get("transparency")
    return np.where(values == key, np.uint8(255), grey) if isinstance(key, int) else grey


def _stretch(values: np.ndarray, unit_range: bool) -> np.ndarray:
    """Map floats linearly to uint8, from [0, 1] if ``unit_range`` and they lie in it, else from min..max."""
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = float(values[finite].min()), float(values[finite].max())
    if unit_range and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    if high == low:
        return np.zeros(values.shape, np.uint8)
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    return np.rint((values - low) / (high - low) * 255).astype(np.uint8)
