"""From reduced images to scores: head, spreading, segments, agreement; all images of a batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...clustering.agreement import Witnesses
from ...clustering.normalize import DeviceNormalizer
from ...clustering.spreading import spread_scores
from ...masks.scores import DeviceScores
from .reduction import Reduced, Reduction

if TYPE_CHECKING:
    import torch

__all__ = ["Labelling"]

ASKED = 60  # regions of other images about a segment


@dataclass(frozen=True)
class Labelling:
    """Everything that labels images on one device.

    Attributes:
        reduction: how images were reduced.
        weight: (d, K) float32 of the head.
        bias: (K,) float32.
        spread: share probabilities among similar patches.
        segments: maps mean tokens of segments to the vectors of the witnesses.
        witnesses: regions of the fit; ``None`` if they were too few for a graph.
        cohesion: (K,) float32, see :func:`~fiftyone_plugin.clustering.agreement.cohesion`.
    """

    reduction: Reduction
    weight: torch.Tensor
    bias: torch.Tensor
    spread: bool
    segments: DeviceNormalizer
    witnesses: Witnesses | None
    cohesion: torch.Tensor

    def __call__(
        self, reduced: Reduced, grids: Sequence[tuple[int, int]], owners: Sequence[int]
    ) -> list[DeviceScores]:
        """Label images at patch resolution, each with the classes that win somewhere in it.

        Scores are probabilities of the head, spread and scaled to sum to 1 over those classes.

        Args:
            reduced: B images.
            grids: (h, w) patches of each.
            owners: numbers of the images, see :func:`.regions.owner_of`.
        """
        import torch

        present, scores = self.winners(self.by_head(reduced))
        if self.spread:
            scores = spread_scores(scores, reduced.neighbours)
        inside = torch.nn.functional.one_hot(scores.argmax(2), scores.shape[2]).float()
        area = inside.sum(1)
        wins = area > 0
        pooled = inside.mT @ reduced.whitened() / area.clamp_min(1)[:, :, None]
        agreement = self._agreement(pooled[wins], present[wins], wins, owners)
        scores = scores * wins[:, None]
        scores = (scores / scores.sum(2, keepdim=True)).mT.contiguous()

        won, ids = wins.cpu().numpy(), present.cpu().numpy()
        asked = None if agreement is None else np.split(agreement, np.cumsum(won.sum(1))[:-1])
        found = []
        for i, grid in enumerate(grids):
            own = scores[i] if won[i].all() else scores[i, wins[i]]
            known = asked is not None and not np.isnan(asked[i]).any()
            found.append(
                DeviceScores(
                    1 + ids[i][won[i]],
                    own.reshape(-1, *grid),
                    agreement=asked[i] if asked is not None and known else None,
                )
            )
        return found

    def by_head(self, reduced: Reduced) -> torch.Tensor:
        """Return the (B, n, K) float32 probabilities that the head gives."""
        import torch
        from torch.nn.functional import normalize

        b, n, d = reduced.head.shape
        vectors = normalize(reduced.head.float(), dim=2).reshape(b * n, d) * d**0.5
        return torch.addmm(self.bias, vectors, self.weight).softmax(1).reshape(b, n, -1)

    def winners(self, probability: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the few classes of the many that win somewhere: the others cannot after spreading, either.

        Args:
            probability: (B, n, K).

        Returns:
            (B, L) int64 ascending classes, L the most that an image has, and (B, n, L) their probabilities,
            0 in the columns that an image does not need.
        """
        import torch

        b, n, k = probability.shape
        won = torch.zeros((b, k), dtype=torch.bool, device=probability.device)
        won.scatter_(1, probability.argmax(2), True)
        most = int(won.sum(1).max())
        ids = torch.arange(k, device=probability.device).where(won, k).sort(dim=1).values[:, :most]
        present = ids.clamp_max(k - 1)
        scores = probability.gather(2, present[:, None].expand(b, n, most))
        return present, scores * (ids < k)[:, None]

    def _agreement(
        self, pooled: torch.Tensor, classes: torch.Tensor, wins: torch.Tensor, owners: Sequence[int]
    ) -> np.ndarray | None:
        """Return how far the landmarks of other images bear (S, d + e) segments out, in [0, 1].

        That is the geometric mean of :meth:`~fiftyone_plugin.clustering.agreement.Witnesses.agreement` and of
        the cohesion of the class: of classes that blend into others, good segments are rarer.
        """
        if self.witnesses is None:
            return None
        image = wins.nonzero()[:, 0].cpu().numpy()
        vectors = self.segments(self.reduction.lift(pooled))
        nearness = self.witnesses.agreement(vectors, classes, np.asarray(owners, np.int64)[image], ASKED)
        agreement: np.ndarray = (nearness * self.cohesion[classes]).sqrt().cpu().numpy()
        return agreement
