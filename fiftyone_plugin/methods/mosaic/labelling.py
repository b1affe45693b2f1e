"""From reduced images to scores: head, spreading, segments, agreement; all images of a batch at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...clustering.agreement import Witnesses
from ...clustering.normalize import DeviceNormalizer
from ...clustering.spreading import spread_scores
from ...common.parallel import one_thread
from ...features.types import ImageFeatures
from ...masks.scores import DeviceScores
from .reduction import Reduced, Reduction
from .regions import owner_of

if TYPE_CHECKING:
    import torch

__all__ = ["HeadLabelling", "Labelling", "trusted", "winning"]

ASKED = 60  # regions of other images about a segment
OWN = 0.25  # weight of a segment's own nearness beside that of its class, see docs/quality.md


@dataclass(frozen=True)
class HeadLabelling(ABC):
    """What labels images on one device, by a head whose classes are shared among patches that are alike.

    Attributes:
        reduction: how images were reduced.
        weight: (d, K) float32 of the head of the clusters.
        bias: (K,) float32.
        spread: share probabilities among similar patches.
    """

    reduction: Reduction
    weight: torch.Tensor
    bias: torch.Tensor
    spread: bool

    @abstractmethod
    def __call__(self, reduced: Reduced, images: Sequence[ImageFeatures]) -> list[DeviceScores]:
        """Label B reduced images at patch resolution, each with the classes that win somewhere in it."""

    def by_clusters(self, reduced: Reduced) -> torch.Tensor:
        """Return the (B, n, K) float32 probabilities of the clusters."""
        import torch
        from torch.nn.functional import normalize

        b, n, d = reduced.head.shape
        vectors = normalize(reduced.head.float(), dim=2).reshape(b * n, d) * d**0.5
        return torch.addmm(self.bias, vectors, self.weight).softmax(1).reshape(b, n, -1)

    def by_head(self, reduced: Reduced) -> torch.Tensor:
        """Return the (B, n, C) float32 probabilities of the classes."""
        return self.by_clusters(reduced)

    def winners(self, reduced: Reduced) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the few classes of the many that win somewhere: the others cannot after spreading, either.

        Returns:
            (B, L) int64 ascending classes, L the most that an image has, and (B, n, L) their probabilities,
            spread where that is asked for; 0 in the columns that an image does not need.
        """
        present, scores = winning(self.by_head(reduced))
        return present, spread_scores(scores, reduced.neighbours) if self.spread else scores


@dataclass(frozen=True)
class Labelling(HeadLabelling):
    """Everything that labels images on one device.

    Attributes:
        segments: maps mean tokens of segments to the vectors of the witnesses.
        witnesses: regions of the fit; ``None`` if they were too few for a graph.
        trust: (K,) float32 in [0, 1], what the quality of a segment owes to its class: see :func:`trusted`.
        center: share of its mean token that was taken off an image of the witnesses.
    """

    segments: DeviceNormalizer
    witnesses: Witnesses | None
    trust: torch.Tensor
    center: float

    def __call__(self, reduced: Reduced, images: Sequence[ImageFeatures]) -> list[DeviceScores]:
        """Label images; scores are probabilities, spread and scaled to sum to 1 over the classes that win."""
        import torch

        present, scores = self.winners(reduced)
        inside = torch.nn.functional.one_hot(scores.argmax(2), scores.shape[2]).float()
        area = inside.sum(1)
        wins = area > 0
        whitened = reduced.whitened()
        pooled = inside.mT @ whitened / area.clamp_min(1)[:, :, None]
        tokens = self.reduction.lift(pooled)
        if self.center:
            tokens = tokens - self.center * self.reduction.lift(whitened.mean(1, keepdim=True))
        agreement = self._agreement(tokens[wins], present[wins], wins, images)
        scores = scores * wins[:, None]
        scores = (scores / scores.sum(2, keepdim=True)).mT.contiguous()

        won, ids = wins.cpu().numpy(), present.cpu().numpy()
        asked = None if agreement is None else np.split(agreement, np.cumsum(won.sum(1))[:-1])
        found = []
        for i, image in enumerate(images):
            own = scores[i] if won[i].all() else scores[i, wins[i]]
            known = asked is not None and not np.isnan(asked[i]).any()
            found.append(
                DeviceScores(
                    1 + ids[i][won[i]],
                    own.reshape(-1, *image.grid),
                    agreement=asked[i] if asked is not None and known else None,
                )
            )
        return found

    def _agreement(
        self, tokens: torch.Tensor, classes: torch.Tensor, wins: torch.Tensor, images: Sequence[ImageFeatures]
    ) -> np.ndarray | None:
        """Return how far the landmarks of other images bear segments of (S, D) mean tokens out, in [0, 1].

        That is the root of :meth:`~fiftyone_plugin.clustering.agreement.Witnesses.agreement`, weighted
        geometrically with the same of the class, times the root of the cohesion of the class.
        """
        if self.witnesses is None:
            return None
        owners = np.array([owner_of(image.digest) for image in images], np.int64)
        owners = owners[wins.nonzero()[:, 0].cpu().numpy()]
        vectors = self.segments(tokens)
        nearness = self.witnesses.agreement(vectors, classes, owners, ASKED)
        agreement: np.ndarray = (nearness ** (OWN / 2) * self.trust[classes]).cpu().numpy()
        return agreement


def trusted(witnesses: Witnesses | None, cohesion: torch.Tensor) -> torch.Tensor:
    """Return the (K,) part of a segment's quality that is its class's, in [0, 1].

    Of classes that blend into others, or whose regions lie apart in the graph, good segments are rarer; the
    first is their (K,) ``cohesion``, see :func:`~fiftyone_plugin.clustering.agreement.cohesion`.
    """
    if witnesses is None:
        return cohesion.sqrt()
    with one_thread():  # the last bits depend on threads
        near = witnesses.of_classes(ASKED)
    return cohesion.sqrt() * near ** (1 - OWN)


def winning(probability: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the classes that win somewhere in each image, and their share of (B, n, K) probabilities.

    Returns:
        (B, L) int64 ascending classes, L the most that an image has, and (B, n, L); 0 in the columns that an
        image does not need.
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
