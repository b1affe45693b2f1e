"""From refined scores to the class of every pixel of the native image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .argmax import winners

if TYPE_CHECKING:
    import torch

__all__ = ["at_most", "device_winners", "native_labels"]

STRIP = 1 << 26  # scores at native size held at a time on a device that is not the CPU, 256 MB in float32


def native_labels(scores: torch.Tensor, labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Up-sample soft scores to the class ids of the native image, in bounded memory.

    Args:
        scores: (L, h, w) float32 on any device.
        labels: (L,) class ids.
        size: native (height, width).

    Returns:
        (height, width) class ids, in the smallest of uint8, uint16 and int64 that holds those of the scores.
    """
    if scores.device.type == "cpu":
        found = winners(scores.numpy(), *size)
    else:
        found = device_winners(scores, *size).cpu().numpy()
    kinds = (
        kind for kind in (np.uint8, np.uint16) if labels.min() >= 0 and labels.max() <= np.iinfo(kind).max
    )
    return np.asarray(labels.astype(next(kinds, np.int64))[found])


def device_winners(scores: torch.Tensor, height: int, width: int, strip: int = STRIP) -> torch.Tensor:
    """Do what :func:`~.argmax.winners` does on the device of the scores, in float32.

    ``strip`` scores at native size are held at a time.

    Returns:
        (height, width) uint8 indices of labels, int32 for more than 256 labels.
    """
    import torch
    import torch.nn.functional as F

    n_labels, *grid = scores.shape
    rows = min(grid[0], height)
    shrinks = grid[0] > height or grid[1] > width
    wide = F.interpolate(scores[None], size=(rows, width), mode="bilinear", antialias=shrinks)[0]
    centre = (torch.arange(height, dtype=torch.float32) + 0.5) * (rows / height) - 0.5
    centre = centre.clamp(0, rows - 1).to(scores.device)
    upper = centre.long()
    lower = (upper + 1).clamp(max=rows - 1)
    down = (centre - upper)[:, None]
    kind = torch.uint8 if n_labels <= 256 else torch.int32
    found = torch.empty((height, width), dtype=kind, device=scores.device)
    step = max(1, strip // (n_labels * width))
    for start in range(0, height, step):
        part = slice(start, start + step)
        values = torch.lerp(wide[:, upper[part]], wide[:, lower[part]], down[part])
        found[part] = values.argmax(0)
    return found


def at_most(values: np.ndarray, side: int) -> np.ndarray:
    """Thin (h, w) values out so that neither side exceeds ``side``."""
    step = max(1, -(-max(values.shape) // side))
    rows, columns = (np.arange(min(step // 2, n - 1), n, step) for n in values.shape)
    return np.asarray(values[np.ix_(rows, columns)])
