"""What a DatUS segment looks like, as a vector: pooled tokens, or the CLS token of a crop."""

from __future__ import annotations

import numpy as np

from ...clustering.normalize import l2_normalize
from ...clustering.region_classes import pool_regions, stack_layers
from ...features.types import ImageFeatures
from ...images.boxes import PAD_COLOUR, crop_square
from ...images.reading import resize_image

__all__ = ["CROPS", "CROP_FITS", "crop_descriptors", "native_segments", "pooled_descriptors", "segment_crop"]

CROPS = ("black", "mean", "box")
CROP_FITS = ("pad", "center")
BLACK = (0, 0, 0)


def pooled_descriptors(image: ImageFeatures, layers: tuple[str, ...], segments: np.ndarray) -> np.ndarray:
    """Return the (n, D) float32 mean tokens of segments 0..n-1, of unit length; no forward pass.

    Args:
        image: its features.
        layers: token layers, each L2-normalised and put side by side.
        segments: (h*w,) int; negative ones take no part.
    """
    return pool_regions(stack_layers([image[layer] for layer in layers]), segments)[1]


def crop_descriptors(
    image: ImageFeatures, segments: np.ndarray, *, fill: str, fit: str, size: int
) -> np.ndarray:
    """Return the (n, D) float32 CLS tokens of the crops of segments 0..n-1, of unit length.

    Costs one forward pass at ``size`` pixels a segment, in batches.

    Raises:
        ImageReadError: the image cannot be read any more.
    """
    n = int(segments.max(initial=-1)) + 1
    if n == 0:
        return np.zeros((0, len(image["cls"])), np.float32)
    pixels = image.read_image()
    if fit == "center":  # the released code squashes the image first
        pixels = resize_image(pixels, size, size)
    native = native_segments(segments, image.grid, pixels.shape[:2])
    crops = np.stack([segment_crop(pixels, native == i, fill=fill, fit=fit, size=size) for i in range(n)])
    return l2_normalize(image.encode(crops, ["cls"])["cls"])


def native_segments(segments: np.ndarray, grid: tuple[int, int], size: tuple[int, ...]) -> np.ndarray:
    """Return the (H, W) map of (h*w,) patch labels at ``size`` (H, W): each pixel that of its patch."""
    rows, columns = (((np.arange(n) + 0.5) * g / n).astype(int) for n, g in zip(size, grid, strict=True))
    return segments.reshape(grid)[np.ix_(rows, columns)]


def segment_crop(pixels: np.ndarray, mask: np.ndarray, *, fill: str, fit: str, size: int) -> np.ndarray:
    """Cut the box of one segment.

    Args:
        pixels: (H, W, 3) uint8.
        mask: (H, W) bool, not empty.
        fill: what is painted outside the segment: ``black``, ``mean`` (the mean colour of ImageNet), or
            ``box`` for nothing.
        fit: ``pad``: longer side to ``size``, padded to a square; ``center``: shorter side to 8/7 of
            ``size``, the ends cut off.
        size: side in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    cut = pixels[y0:y1, x0:x1]
    if fill != "box":
        colour = np.array(BLACK if fill == "black" else PAD_COLOUR, np.uint8)
        cut = np.where(mask[y0:y1, x0:x1, None], cut, colour)
    height, width = cut.shape[:2]
    if fit == "pad":
        return crop_square(cut, (0, 0, height, width), size)
    scale = size * 8 / 7 / min(height, width)
    new_height, new_width = max(size, round(height * scale)), max(size, round(width * scale))
    resized = resize_image(np.ascontiguousarray(cut), new_height, new_width)
    top, left = (new_height - size) // 2, (new_width - size) // 2
    return np.ascontiguousarray(resized[top : top + size, left : left + size])
