"""Refiners that were tried and not kept, for :mod:`benchmarks.refinement`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class JointBilateral:
    """Joint bilateral up-sampling (Kopf et al., SIGGRAPH 2007).

    Every pixel takes the scores of the patches around it whose mean colour is like its own:
    ``p(x) = sum_q w(x, q) s(q) / sum_q w(x, q)`` over the patches q within ``radius`` of that of x, and
    ``w = exp(-|x - q|^2 / (2 reach^2)) (exp(-|I(x) - mean I(q)|^2 / (2 colour^2)) + 1e-6)``.

    Args:
        guide_side: side in pixels of the guide, and of the result where the patches divide it.
        colour: standard deviation of the colour weight, of colours in [0, 1].
        reach: standard deviation of the spatial weight, in patches.
        radius: farthest patch along either side.
    """

    guide_side: int = 224
    colour: float = 0.2
    reach: float = 1.0
    radius: int = 2

    def __call__(
        self, scores: torch.Tensor, guide: torch.Tensor, sizes: Sequence[tuple[int, int]]
    ) -> torch.Tensor:
        """Refine, see :class:`~fiftyone_plugin.masks.refine.Refiner`."""
        (batch, labels, height, width), radius = scores.shape, self.radius
        fine = [max(1, round(self.guide_side / n)) for n in (height, width)]  # pixels of a patch
        pixels = guide.permute(0, 3, 1, 2).float() / 255
        if pixels.shape[2:] != (height * fine[0], width * fine[1]):
            pixels = F.interpolate(pixels, size=(height * fine[0], width * fine[1]), mode="bilinear")
        means = F.pad(F.avg_pool2d(pixels, fine), [radius] * 4, mode="replicate")
        padded = F.pad(scores, [radius] * 4, mode="replicate")
        pixels = pixels.view(batch, 3, height, fine[0], width, fine[1])
        down, right = (self._spatial(n) for n in fine)
        total = torch.zeros_like(pixels[:, :1])
        found = scores.new_zeros((batch, labels, *pixels.shape[2:]))
        for y in range(2 * radius + 1):
            for x in range(2 * radius + 1):
                here = (..., slice(y, y + height), None, slice(x, x + width), None)
                unlike = (pixels - means[here]).square_().sum(1, keepdim=True)
                weight = unlike.mul_(-0.5 / self.colour**2).exp_().add_(1e-6)
                weight.mul_(down[y][:, None, None] * right[x])
                found.addcmul_(weight, padded[here])
                total.add_(weight)
        return (found / total).view(batch, labels, height * fine[0], width * fine[1])

    def _spatial(self, fine: int) -> torch.Tensor:
        """Return (2 radius + 1, fine) weights of the patches around one, for the pixels along its side."""
        inside = (torch.arange(fine, dtype=torch.float32) + 0.5) / fine - 0.5
        away = torch.arange(-self.radius, self.radius + 1, dtype=torch.float32)
        return (inside - away[:, None]).square().mul(-0.5 / self.reach**2).exp()


@dataclass(frozen=True)
class PixelAdaptive:
    """Pixel-adaptive mask refinement (Araslanov and Roth, CVPR 2020, section 3.3), as they publish it.

    Args:
        guide_side: side in pixels of the guide and of the result.
        n_iter: how often every pixel takes the mean of its neighbours, weighted by likeness.
        steps: how far the neighbours are, eight for each.
    """

    guide_side: int = 224
    n_iter: int = 10
    steps: tuple[int, ...] = (1, 2, 4, 8, 12, 24)

    def __call__(
        self, scores: torch.Tensor, guide: torch.Tensor, sizes: Sequence[tuple[int, int]]
    ) -> torch.Tensor:
        """Refine, see :class:`~fiftyone_plugin.masks.refine.Refiner`."""
        pixels = guide.permute(0, 3, 1, 2).float() / 255
        around = torch.stack(list(self._neighbours(pixels))).view(len(self.steps), 8, *pixels.shape)
        own = pixels.expand(len(self.steps), 1, *pixels.shape)
        spread = torch.cat([around, own], 1).std(1, keepdim=True)
        unlike = (around - pixels).abs_().div_(1e-8 + 0.1 * spread).mean(3, keepdim=True)
        weights = unlike.flatten(0, 1).neg_().softmax(0)
        found = F.interpolate(scores, size=pixels.shape[2:], mode="bilinear")
        for _ in range(self.n_iter):
            total = torch.zeros_like(found)
            for weight, values in zip(weights, self._neighbours(found), strict=True):
                total.addcmul_(weight, values)
            found = total
        return found

    def _neighbours(self, values: torch.Tensor) -> Iterator[torch.Tensor]:
        height, width = values.shape[2:]
        for step in self.steps:
            padded = F.pad(values, [step] * 4, mode="replicate")
            for y in (0, step, 2 * step):
                for x in (0, step, 2 * step):
                    if (y, x) != (step, step):
                        yield padded[..., y : y + height, x : x + width]
