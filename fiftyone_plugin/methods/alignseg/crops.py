"""AlignSeg's crops: where they lie, their tokens, and which of their patches are foreground."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ...images.boxes import Box

__all__ = ["attention_foreground", "draw_crops", "resample_tokens"]

GLOBAL_AREA = (0.5, 1.0)
LOCAL_AREA = (0.05, 0.25)
MIN_OVERLAP = 0.05
ATTEMPTS = 100
ASPECTS = (3 / 4, 4 / 3)
BLUR_SIGMA, BLUR_RADIUS = 0.6, 3
SPECK = 2  # patches
EIGHT = np.zeros((3, 3, 3), bool)
EIGHT[1] = True  # eight neighbours within an image of a stack


def draw_crops(rng: np.random.Generator, size: tuple[int, int], n_local: int) -> list[Box]:
    """Draw one global and then ``n_local`` local boxes in an image of native ``size`` (height, width).

    A local box is drawn again until it shares more than 5 % of the image's area with the global one; after
    100 attempts the one that shared most is taken (the released code would go on for ever).
    """
    world = _draw_box(rng, size, GLOBAL_AREA)
    enough = int(MIN_OVERLAP * size[0] * size[1])
    boxes = [world]
    for _ in range(n_local):
        best, shared = world, -1
        for _ in range(ATTEMPTS):
            box = _draw_box(rng, size, LOCAL_AREA)
            area = _overlap(box, world)
            if area > shared:
                best, shared = box, area
            if shared > enough:
                break
        boxes.append(best)
    return boxes


def _draw_box(rng: np.random.Generator, size: tuple[int, int], area: tuple[float, float]) -> Box:
    """Draw a box as torchvision's RandomResizedCrop does: area, then log aspect, then place."""
    height, width = size
    for _ in range(10):
        target = height * width * rng.uniform(*area)
        aspect = np.exp(rng.uniform(*np.log(ASPECTS)))
        w, h = round(float(np.sqrt(target * aspect))), round(float(np.sqrt(target / aspect)))
        if 0 < w <= width and 0 < h <= height:
            y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            return y, x, y + h, x + w
    # very long images: the largest central box of an allowed aspect
    w = max(1, min(width, round(height * ASPECTS[1])))
    h = max(1, min(height, round(w / ASPECTS[0])))
    y, x = (height - h) // 2, (width - w) // 2
    return y, x, y + h, x + w


def _overlap(a: Box, b: Box) -> int:
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    return max(0, height) * max(0, width)


def resample_tokens(grid: np.ndarray, box: Box, size: tuple[int, int], side: int) -> np.ndarray:
    """Cut a box out of a grid of tokens and resample it bilinearly.

    Patch centres are the sample points of the grid; points beyond the outermost centres take the nearest one.

    Args:
        grid: (h, w, D) tokens of the whole image.
        box: crop in native pixels.
        size: native (height, width) of the image that the grid covers.
        side: patches on each side of the result.

    Returns:
        (side, side, D) float32.
    """
    (y0, x0, y1, x1), (height, width) = box, size
    top, bottom, down = _taps(y0 / height, y1 / height, grid.shape[0], side)
    left, right, across = _taps(x0 / width, x1 / width, grid.shape[1], side)
    down, across = down[:, None, None], across[None, :, None]
    upper = grid[top[:, None], left] * (1 - across) + grid[top[:, None], right] * across
    lower = grid[bottom[:, None], left] * (1 - across) + grid[bottom[:, None], right] * across
    return np.asarray(upper * (1 - down) + lower * down, np.float32)


def _taps(start: float, end: float, cells: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return lower and upper cell and the upper one's weight for ``side`` points within start..end (0..1)."""
    points = (start + (end - start) * (np.arange(side) + 0.5) / side) * cells - 0.5
    points = points.clip(0, cells - 1)
    low = np.minimum(points.astype(int), cells - 1)
    return low, np.minimum(low + 1, cells - 1), (points - low).astype(np.float32)


def attention_foreground(attention: np.ndarray, mass: float) -> np.ndarray:
    """Return the patches that hold most of the CLS attention.

    Gaussian blur (7 taps, sigma 0.6), then the smallest set of patches with at least ``mass`` of the
    attention, without 8-connected components of one or two patches.

    Args:
        attention: (B, h, w) float, >= 0.
        mass: share of the attention, 0..1; 1 keeps every patch.

    Returns:
        (B, h, w) bool.
    """
    if mass >= 1:
        return np.ones(attention.shape, bool)
    sigma = (0, BLUR_SIGMA, BLUR_SIGMA)
    blurred = ndimage.gaussian_filter(
        attention.astype(np.float64), sigma, mode="mirror", truncate=BLUR_RADIUS / BLUR_SIGMA
    )
    flat = blurred.reshape(len(blurred), -1)
    order = np.argsort(flat, axis=1, kind="stable")
    cumulative = np.cumsum(np.take_along_axis(flat, order, 1), axis=1)
    keep = cumulative / np.maximum(cumulative[:, -1:], 1e-12) > 1 - mass
    mask = np.zeros(flat.shape, bool)
    np.put_along_axis(mask, order, keep, 1)
    components, n = ndimage.label(mask.reshape(attention.shape), structure=EIGHT)
    large = np.bincount(components.ravel(), minlength=n + 1) > SPECK
    large[0] = False
    return np.asarray(large[components])
