"""Thin dark lines, found at the pixel, where the tokens of an image tell nothing apart.

On photographs of nothing but a surface - a road, a wall - all patches of an image are alike to the last
blocks of the network, and what is of interest is narrower than a patch. There, and nowhere else, one of the
classes is given to lines: pixels that are darker than their surroundings along a line, a matched filter as
for vessels of the retina (Chaudhuri et al., "Detection of blood vessels in retinal images using
two-dimensional matched filters", IEEE TMI 1989).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from ...clustering.normalize import l2_normalize
from ...common.parallel import one_thread
from ...errors import ImageReadError
from ...features.types import FeatureSource
from ...images.reading import resize_image
from ...masks.scores import DeviceScores

if TYPE_CHECKING:
    import torch

__all__ = [
    "add_lines",
    "find_lines",
    "line_strength",
    "line_threshold",
    "share_within",
]

logger = logging.getLogger(__name__)

ALIKE = 0.2
"""Share of the variance of the last tokens that lies within images, below which there is nothing to cut: 0.06
on photographs of roads, 0.43 of fields, 0.6 to 0.85 of everything else."""
FEWEST = 10  # images: of fewer, neither that share nor the threshold says anything
LOOKED_AT = 64  # images that the threshold is learnt from
LONGEST = 512  # pixels of an image that lines are looked for in
SURROUNDINGS, WIDTH = 20.0, 0.7  # sigma in pixels of what a line is darker than, and of the line
LENGTH, DIRECTIONS = 15, 12
NOISE = 0.5  # grey levels: images without any noise are drawn, not photographed


def share_within(tokens: np.ndarray, image: np.ndarray) -> float:
    """Return the share of the variance of unit tokens that lies within images, in [0, 1]; 1 of one image.

    Args:
        tokens: (n, D) float.
        image: (n,) int image that each is from.
    """
    vectors = l2_normalize(tokens).astype(np.float64)
    _, rows, counts = np.unique(image, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(sums, rows, vectors)
    energy = (vectors**2).sum()
    total = energy - (sums.sum(0) ** 2).sum() / len(vectors)
    within = energy - ((sums**2).sum(1) / counts).sum()
    return float(within / total) if total > 1e-12 * energy else 1.0


@cache
def _directions() -> np.ndarray:
    """Return the (DIRECTIONS, 1, LENGTH, LENGTH) float32 lines, each of sum 1."""
    radius = LENGTH // 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    angles = (np.arange(DIRECTIONS) * np.pi / DIRECTIONS)[:, None, None]
    along, across = x * np.cos(angles) + y * np.sin(angles), y * np.cos(angles) - x * np.sin(angles)
    lines = np.exp(-(across**2) / (2 * WIDTH**2)) * (np.abs(along) <= radius)
    return np.asarray(lines / lines.sum((1, 2), keepdims=True), np.float32)[:, None]


def _blurred(plane: torch.Tensor, sigma: float) -> torch.Tensor:
    import torch
    from torch.nn.functional import conv2d, pad

    radius = round(3 * sigma)
    x = torch.arange(-radius, radius + 1, dtype=torch.float32, device=plane.device)
    kernel = torch.exp(-(x**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    wide = pad(plane, [radius] * 4, mode="replicate")
    return conv2d(conv2d(wide, kernel[None, None, None]), kernel[None, None, :, None])


def line_strength(image: np.ndarray, device: str = "cpu") -> torch.Tensor:
    """Return how far each pixel is darker than its surroundings along some line, in units of the image's own.

    Args:
        image: (H, W, 3) uint8 RGB.
        device: torch device to work on.

    Returns:
        (h, w) float32, the image scaled to at most 512 pixels; its median absolute deviation is 1.
    """
    import torch
    from torch.nn.functional import conv2d, pad

    height, width = image.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    small = resize_image(image, max(1, round(height * scale)), max(1, round(width * scale)))
    with one_thread():
        grey = torch.from_numpy(np.array(small)).to(device).float().mean(2)[None, None]
        darker = _blurred(grey, SURROUNDINGS) - _blurred(grey, WIDTH)
        lines = torch.from_numpy(_directions()).to(device)
        found = conv2d(pad(darker, [LENGTH // 2] * 4, mode="replicate"), lines)[0].amax(0)
        spread = (found - found.median()).abs().median().clamp_min(NOISE)
        return found / spread


def line_threshold(images: Sequence[np.ndarray], device: str = "cpu") -> float:
    """Return the strength from which a pixel is of a line.

    That is Otsu's threshold (IEEE SMC 1979) of what lies above Otsu's threshold, over the pixels of all
    (H, W, 3) uint8 images: the first parts flat ground from texture, the second texture from lines.
    """
    from skimage.filters import threshold_otsu

    strengths = [line_strength(image, device)[::3, ::3].flatten().cpu().numpy() for image in images]
    pooled = np.concatenate(strengths).astype(np.float64)
    first = float(threshold_otsu(pooled.clip(max=np.quantile(pooled, 0.999))))
    above = pooled[pooled > first]
    return float(threshold_otsu(above.clip(max=np.quantile(pooled, 0.999)))) if len(above) else first


def find_lines(features: FeatureSource, tokens: np.ndarray, image: np.ndarray, device: str) -> float | None:
    """Return :func:`line_threshold` where (n, D) sampled last tokens of (n,) images leave nothing to cut."""
    opening = features.opening()
    if len(opening) < FEWEST or share_within(tokens, image) >= ALIKE:
        return None
    pictures = []
    for found in islice(opening, 0, None, -(-len(opening) // LOOKED_AT)):
        with suppress(ImageReadError):  # it has gone meanwhile
            pictures.append(found.read_image())
    if len(pictures) < FEWEST:
        return None
    logger.info("all patches of an image are alike: the last class is that of thin dark lines")
    return line_threshold(pictures, device)


def add_lines(scores: DeviceScores, image: np.ndarray, threshold: float, label: int) -> DeviceScores:
    """Add the class of lines to the scores of an image, at the resolution at which they were looked for.

    Args:
        scores: of the regions; they are returned where there is no line.
        image: (H, W, 3) uint8 RGB.
        threshold: strength from which a pixel is of a line.
        label: id of the class, above all others.
    """
    import torch
    from torch.nn.functional import interpolate

    strength = line_strength(image, str(scores.scores.device)).clamp_min(0)
    line = strength / (strength + threshold)  # above a half where a pixel is of a line
    won = line > 0.5
    if not won.any():
        return scores
    wide = interpolate(scores.scores[None], tuple(line.shape), mode="bilinear", align_corners=False)[0]
    found = torch.cat([wide / wide.amax(0) * (1 - line), line[None]])
    agreement = scores.agreement
    if agreement is not None:
        trust = line[won].mean().item() * _largest_part(won.cpu().numpy())
        agreement = np.append(agreement, np.float32(trust)).astype(np.float32)
    labels = np.append(scores.labels, label)
    return DeviceScores(labels, found / found.sum(0), refined=True, agreement=agreement)


def _largest_part(won: np.ndarray) -> float:
    """Return the share of the largest connected part of (h, w) pixels: cracks run on, specks do not."""
    from scipy.ndimage import label

    parts = label(won, np.ones((3, 3)))[0]
    return float(np.bincount(parts[won]).max() / won.sum())
