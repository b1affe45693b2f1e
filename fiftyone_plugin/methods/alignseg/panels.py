"""What AlignSeg shows of its stages."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from ...images.drawing import Panel
from .crops import attention_foreground

__all__ = ["draw_curve", "stage_panels"]

WIDTH, HEIGHT, MARGIN = 480, 320, 16


def draw_curve(values: np.ndarray) -> np.ndarray:
    """Draw (n,) values from left to right: thin as they are, thick as a running mean over a tenth of them.

    Returns:
        (320, 480, 3) uint8.
    """
    picture = Image.new("RGB", (WIDTH, HEIGHT), (250, 250, 250))
    draw = ImageDraw.Draw(picture)
    window = max(1, len(values) // 10)
    mean = np.convolve(values, np.full(window, 1 / window), mode="valid")
    low, high = float(values.min()), float(values.max())
    scale = (HEIGHT - 2 * MARGIN) / max(high - low, 1e-12)
    step = (WIDTH - 2 * MARGIN) / max(1, len(values) - 1)
    for series, colour, width in ((values, (190, 200, 215), 1), (mean, (31, 80, 150), 4)):
        start = len(values) - len(series)
        points = [
            (MARGIN + (start + i) * step, HEIGHT - MARGIN - (v - low) * scale) for i, v in enumerate(series)
        ]
        draw.line(points, fill=colour, width=width)
    return np.asarray(picture)


def stage_panels(
    losses: np.ndarray,
    similarity: np.ndarray,
    regions: np.ndarray,
    attention: np.ndarray | None,
    mass: float,
) -> list[Panel]:
    """Return the panels of one image.

    Args:
        losses: (steps, 3), the total first.
        similarity: (Q, h, w) cosines to the adaptive prototypes.
        regions: (h, w) int.
        attention: (h, w) CLS attention, ``None`` where training does not use it.
        mass: share of the attention that is foreground.
    """
    panels = [Panel(f"loss, {len(losses)} steps", draw_curve(losses[:, 0]), "photo")]
    if attention is not None:
        mask = attention_foreground(attention[None], mass)[0]
        panels.append(Panel(f"attention, {mass:.0%}", mask.astype(np.int64), "labels"))
    panels += [Panel(f"prototype {q}", cosines, "heat") for q, cosines in enumerate(similarity, start=1)]
    return [*panels, Panel(f"regions: {len(np.unique(regions))}", regions, "labels")]
