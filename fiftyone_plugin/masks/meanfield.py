"""Fully connected CRF (Krähenbühl & Koltun, NeurIPS 2011) in torch: batches, any device, no compiler.

A pixel hears from every other one, the louder the nearer they are in place and colour. That kernel is taken
as a mean over a few shifted grids of place and colour (random binning, Rahimi & Recht, NeurIPS 2007, section
4): two pixels in one cell hear each other in full, else not at all, and over all shifts the share of grids in
which they meet falls linearly with their distance. So a message is a sum over each cell, given back to its
pixels. The shifts are a fixed low-discrepancy sequence; nothing is random.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

__all__ = ["MeanField"]

PITCH = math.sqrt(6.0)  # a linear fall over this many standard deviations has the variance of the Gaussian
LEVELS = 256
REACH = 3  # of the smoothness kernel, in its standard deviations


class _Cells(NamedTuple):
    """Which pixels share a cell, over all grids and images.

    Attributes:
        members: (P * B * N,) int pixels, those of a cell side by side.
        starts: (C,) int, where each cell begins in ``members``.
        of_pixel: (B * N, P) int, the cell of each pixel in each grid.
        weight: (B * N, 1) float32, 1 / sqrt(sum of the kernel over all pixels).
    """

    members: torch.Tensor
    starts: torch.Tensor
    of_pixel: torch.Tensor
    weight: torch.Tensor

    def message(self, beliefs: torch.Tensor) -> torch.Tensor:
        """Return P times the sum over all pixels of their weighted (B * N, L) beliefs, by the kernel."""
        import torch.nn.functional as F

        sums = F.embedding_bag(self.members, beliefs * self.weight, self.starts, mode="sum")
        return F.embedding_bag(self.of_pixel, sums, mode="sum")


@dataclass(frozen=True)
class MeanField:
    """Mean-field inference over soft scores and the photograph.

    Iterations and weights are those of :class:`~fiftyone_plugin.masks.pydense.PyDenseCRF`. The appearance
    kernel is a little wider in colour, which few grids meet better; docs/refinement.md has the comparison.

    Args:
        guide_side: side in pixels of the guide and of the result.
        grids: shifted grids that stand for the appearance kernel.
        n_iter: mean-field iterations.
        gaussian_sxy: std of the smoothness kernel, pixels of the guide.
        gaussian_compat: weight of the smoothness kernel.
        bilateral_sxy: spatial std of the appearance kernel, in longer sides of the photograph.
        bilateral_srgb: colour std of the appearance kernel, in 0..255 levels.
        bilateral_compat: weight of the appearance kernel.
        confidence: scores are clipped to [1 - confidence, confidence] before the logarithm, so that a certain
            patch can still be overruled by the pixels.
    """

    guide_side: int = 224
    grids: int = 6
    n_iter: int = 5
    gaussian_sxy: float = 1.0
    gaussian_compat: float = 3.0
    bilateral_sxy: float = 67 / 640
    bilateral_srgb: float = 3.5
    bilateral_compat: float = 4.0
    confidence: float = 0.9

    def __call__(
        self, scores: torch.Tensor, guide: torch.Tensor | None, sizes: Sequence[tuple[int, int]]
    ) -> torch.Tensor:
        """Refine, see :class:`~fiftyone_plugin.masks.refine.Refiner`; (B, L, guide_side, guide_side)."""
        import torch

        assert guide is not None
        side = self.guide_side
        unary = self._unary(scores)
        batch, labels = unary.shape[:2]
        cells = self._cells(guide, sizes)
        smooth = self._smooth(unary.new_ones((1, 1, side, side))).reciprocal_().mul_(self.gaussian_compat)
        loudness = cells.weight.view(batch, 1, side, side) * (self.bilateral_compat / self.grids)
        beliefs = unary.softmax(1)
        for _ in range(self.n_iter):
            rows = beliefs.permute(0, 2, 3, 1).contiguous().view(-1, labels)  # quick where contiguous
            heard = cells.message(rows).view(batch, side, side, labels).permute(0, 3, 1, 2)
            energy = torch.addcmul(unary, heard, loudness)
            energy.addcmul_(self._smooth(beliefs), smooth)
            beliefs = energy.softmax(1)
        return beliefs.contiguous()

    def _unary(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the logarithms of the clipped scores at the side of the guide; -inf for absent labels."""
        import torch.nn.functional as F

        side = self.guide_side
        there = scores.amax((2, 3), keepdim=True) > 0
        least = (1 - self.confidence) / (there.sum(1, keepdim=True) - 1).clamp(min=1)
        shrinks = max(scores.shape[2:]) > side
        fine = F.interpolate(scores, size=(side, side), mode="bilinear", antialias=shrinks)
        fine = fine.maximum(least).clamp(max=self.confidence).mul_(there)
        return fine.div_(fine.sum(1, keepdim=True)).log_()

    def _smooth(self, beliefs: torch.Tensor) -> torch.Tensor:
        """Return (B, L, h, w) under the smoothness kernel; beyond the border there is nothing."""
        import torch.nn.functional as F

        reach = max(1, round(REACH * self.gaussian_sxy))
        weights = [math.exp(-0.5 * (i / self.gaussian_sxy) ** 2) for i in range(reach + 1)]
        scale = 1 / (2 * sum(weights) - 1)
        for axis in (2, 3):
            n = beliefs.shape[axis]
            padded = F.pad(beliefs, (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0))
            beliefs = padded.narrow(axis, reach, n) * (weights[0] * scale)
            for i in range(1, reach + 1):
                both = padded.narrow(axis, reach - i, n) + padded.narrow(axis, reach + i, n)
                beliefs.add_(both, alpha=weights[i] * scale)
        return beliefs

    def _cells(self, guide: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> _Cells:
        """Sort the pixels of all images into the cells of all grids."""
        import torch
        import torch.nn.functional as F

        keys = self._keys(guide, sizes)
        n_grids, n_pixels = keys.shape
        ordered, order = torch.sort(keys.flatten(), stable=True)
        begins = torch.ones_like(ordered, dtype=torch.bool)
        torch.ne(ordered[1:], ordered[:-1], out=begins[1:])
        starts = begins.nonzero().flatten().int()
        cell = begins.cumsum(0, dtype=torch.int32).sub_(1)
        cell = torch.empty_like(cell).scatter_(0, order, cell)
        of_pixel = cell.view(n_grids, n_pixels).T.contiguous()
        ends = torch.cat([starts[1:], starts.new_full((1,), len(order))])
        total = F.embedding_bag(of_pixel, (ends - starts).float()[:, None], mode="sum") / n_grids
        return _Cells(order.int() % n_pixels, starts, of_pixel, total.rsqrt_())

    def _keys(self, guide: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Return (P, B * N) numbers, equal for pixels of one image that share a cell of a grid."""
        import torch

        batch, side = guide.shape[:2]
        native = torch.tensor(sizes, dtype=torch.float32, device=guide.device)
        pitches = PITCH * self.bilateral_sxy * side * native.amax(1, keepdim=True) / native
        place = torch.arange(side, dtype=torch.float32, device=guide.device) / pitches[..., None]
        colours = guide.view(batch, -1, 3).permute(2, 0, 1).float() / (PITCH * self.bilateral_srgb)
        steps = int(LEVELS / (PITCH * self.bilateral_srgb)) + 2
        places = int(1 / (PITCH * self.bilateral_sxy)) + 2  # along either side: pitches are at least this
        size = places**2 * steps**3
        kind = torch.int32 if self.grids * batch * size < 2**31 else torch.int64
        found = torch.empty((self.grids, batch, side * side), dtype=kind, device=guide.device)
        images = torch.arange(batch, dtype=kind, device=guide.device)[:, None]
        for grid, shift in enumerate(_shifts(self.grids)):
            down, right = ((place[:, i] + shift[i]).to(kind) for i in range(2))
            key = (down[:, :, None] * places + right[:, None]).view(batch, -1)
            for i in range(3):
                key = key * steps + (colours[i] + shift[2 + i]).to(kind)
            found[grid] = key + (grid * batch + images) * size
        return found.view(self.grids, -1)


def _shifts(n: int) -> list[list[float]]:
    """Return n points in [0, 1)^5 that fill it evenly: multiples of powers of the root of x^6 = x + 1.

    Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018.
    """
    root = 2.0
    for _ in range(64):
        root = (1 + root) ** (1 / 6)
    return [[(0.5 + (i + 1) * root ** -(axis + 1)) % 1 for axis in range(5)] for i in range(n)]
