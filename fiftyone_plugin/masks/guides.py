"""The photograph that a refiner follows: squeezed to a square, as the network sees it.

So the images of a batch have one shape whatever their native size, and a refiner can take them together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..images.reading import resize_image

if TYPE_CHECKING:
    import torch

__all__ = ["guide_of", "make_guide"]


def make_guide(pixels: torch.Tensor, side: int) -> torch.Tensor:
    """Bring squeezed photographs down to the side that a refiner works at, each pixel a mean over its area.

    Args:
        pixels: (B, S, S, 3) uint8, as the network takes them.
        side: of the guide, at most S.

    Returns:
        (B, side, side, 3) uint8 on the device of ``pixels``.

    Raises:
        ValueError: the photographs are smaller than that; read them larger.
    """
    import torch.nn.functional as F

    if pixels.shape[1] == side:
        return pixels
    if pixels.shape[1] < side:
        raise ValueError(f"a guide of {side} pixels cannot be made from {pixels.shape[1]}")
    planes = pixels.permute(0, 3, 1, 2).float()
    small = F.interpolate(planes, size=(side, side), mode="area")
    return small.round_().byte().permute(0, 2, 3, 1)


def guide_of(image: np.ndarray, side: int) -> torch.Tensor:
    """Return the guide of one photograph, (H, W, 3) uint8 at its native size, as (1, side, side, 3) uint8."""
    import torch

    return torch.from_numpy(resize_image(image, side, side)[None])
