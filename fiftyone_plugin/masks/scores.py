"""Soft labels of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["DeviceScores", "LabelScores"]


@dataclass
class LabelScores:
    """Soft labels of one image: only the classes that occur in it.

    Attributes:
        labels: (L,) int, ascending class ids; 0 is background or unlabelled.
        scores: (L, h, w) float32, >= 0, sums to 1 over L; at patch, working or native resolution.
        refined: the method has used the pixels already; nothing but up-sampling is left to do.
        agreement: (L,) float32 in [0, 1], how far other images bear out each segment's class; ``None`` where
            the method cannot tell.
    """

    labels: np.ndarray
    scores: np.ndarray
    refined: bool = False
    agreement: np.ndarray | None = None

    def argmax(self) -> np.ndarray:
        """Return the (h, w) label map of highest score; ties go to the lowest label."""
        return np.asarray(self.labels[self.scores.argmax(0)])


@dataclass(frozen=True)
class DeviceScores:
    """:class:`LabelScores` whose scores are a tensor on a device, on their way from the network to a mask."""

    labels: np.ndarray
    scores: torch.Tensor
    refined: bool = False
    agreement: np.ndarray | None = None

    @classmethod
    def of(cls, scores: LabelScores, device: str) -> DeviceScores:
        """Bring scores to a device."""
        import torch

        values = np.ascontiguousarray(scores.scores, np.float32)
        if not values.flags.writeable:
            values = values.copy()  # torch warns of memory that it may not write to
        return cls(scores.labels, torch.from_numpy(values).to(device), scores.refined, scores.agreement)

    def to_numpy(self) -> LabelScores:
        """Bring them to memory."""
        return LabelScores(self.labels, self.scores.cpu().numpy(), self.refined, self.agreement)
