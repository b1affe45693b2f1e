"""Random masks, and the data they are compared with."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st


@st.composite
def masks(draw, max_side: int = 24, max_classes: int = 5) -> np.ndarray:
    """Masks with everything awkward: noise, blocks, holes, touching corners, one pixel, full frame, empty."""
    height, width = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes = draw(st.integers(1, max_classes))
    kind = draw(st.sampled_from(["noise", "blocks", "rings", "full", "empty", "pixel", "checkers"]))
    mask = np.zeros((height, width), np.uint16)
    if kind == "noise":
        mask[:] = rng.integers(0, classes + 1, mask.shape)
    elif kind == "blocks":
        coarse = rng.integers(0, classes + 1, (-(-height // 3), -(-width // 3)))
        mask[:] = coarse.repeat(3, 0).repeat(3, 1)[:height, :width]
    elif kind == "rings":
        y, x = np.mgrid[:height, :width]
        ring = np.minimum.reduce([y, x, height - 1 - y, width - 1 - x])
        mask[:] = np.where(ring % 2 == 0, 1 + ring // 2 % classes, 0)
    elif kind == "full":
        mask[:] = classes
    elif kind == "pixel":
        mask[rng.integers(height), rng.integers(width)] = classes
    elif kind == "checkers":
        mask[:] = np.indices(mask.shape).sum(0) % 2
    return mask
