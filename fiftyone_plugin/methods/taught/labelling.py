"""From reduced images to scores of a taught model; all images of a batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...features.types import ImageFeatures
from ...masks.scores import DeviceScores
from ..mosaic.labelling import HeadLabelling
from ..mosaic.reduction import Reduced, Reduction

if TYPE_CHECKING:
    import torch

__all__ = ["TaughtLabelling", "vectors_of"]


def vectors_of(reduction: Reduction, reduced: Reduced) -> torch.Tensor:
    """Return the (B, n, d + e) float32 principal components, unwhitened, of a mean square of 1."""
    return reduced.whitened() * (reduction.scale / (reduction.scale**2).sum().sqrt())


@dataclass(frozen=True)
class TaughtLabelling(HeadLabelling):
    """Everything that labels images on one device.

    Attributes:
        head: (d + e, C) and (C,) float32, the taught head.
        matrix: (K, C) float32 names of clusters.
        seen: (C,) float32, 1 for classes that labelled images show.
        lift: (C,) float32, see :func:`.head.lifts`.
        ids: (C,) int64 ascending class ids.
        mix: see :class:`~.head.TaughtHead`.
    """

    head: tuple[torch.Tensor, torch.Tensor]
    matrix: torch.Tensor
    seen: torch.Tensor
    lift: torch.Tensor
    ids: np.ndarray
    mix: float

    def __call__(self, reduced: Reduced, images: Sequence[ImageFeatures]) -> list[DeviceScores]:
        """Label images at patch resolution, each with the classes that win somewhere in it."""
        present, scores = self.winners(reduced)
        wins = scores.new_zeros(scores.shape[0], scores.shape[2])
        wins.scatter_(1, scores.argmax(2), 1)
        scores = scores * wins[:, None]
        scores = (scores / scores.sum(2, keepdim=True).clamp_min(1e-12)).mT.contiguous()
        won, classes = wins.bool().cpu().numpy(), present.cpu().numpy()
        return [
            DeviceScores(self.ids[classes[i][won[i]]], scores[i, wins[i].bool()].reshape(-1, *image.grid))
            for i, image in enumerate(images)
        ]

    def by_head(self, reduced: Reduced) -> torch.Tensor:
        """Return the (B, n, C) float32 probabilities of head and clusters, see :func:`.head.mixed`."""
        import torch

        named = self.by_clusters(reduced) @ self.matrix
        if not bool(self.seen.any()):
            return named
        vectors = vectors_of(self.reduction, reduced)
        b, n, d = vectors.shape
        weight, bias = self.head
        taught = torch.addmm(bias, vectors.reshape(b * n, d), weight).softmax(1).reshape(b, n, -1)
        if self.mix == 1 and not bool(self.matrix.any()):
            return taught
        inside = (named * self.seen).sum(2, keepdim=True)
        unnamed = (1 - named.sum(2, keepdim=True)).clamp_min(0)
        scores = named * (1 - self.mix * self.seen) + (self.mix * inside + unnamed) * taught
        scores = scores * self.lift
        return scores / scores.sum(2, keepdim=True)
