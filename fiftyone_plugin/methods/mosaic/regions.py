"""Regions of Mosaic: every image cut by k-means in several ways, and what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["ImageRegions", "RegionTable", "describe_regions", "owner_of"]


@dataclass(frozen=True)
class ImageRegions:
    """What is kept of one image.

    Attributes:
        descriptors: (R, D) float16 mean tokens of the regions of all cuts.
        foreground: (R,) float32 mean foreground probability.
        patches: (m, d) float16 drawn patches, whitened.
        region_of_patch: (m, cuts) int32 regions that they lie in.
        owner: () int64 number of the image, from its digest.
    """

    descriptors: np.ndarray
    foreground: np.ndarray
    patches: np.ndarray
    region_of_patch: np.ndarray
    owner: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name."""
        return dict(vars(self))


class RegionTable:
    """Regions of all images.

    Args:
        images: in their order.

    Attributes:
        descriptors: (n, D) float16.
        foreground: (n,) float32.
        owners: (n,) int64 images that the regions are from.
        patches: (p, d) float16.
        region_of_patch: (p, cuts) int32 rows of the descriptors.
    """

    def __init__(self, images: Sequence[ImageRegions]) -> None:
        counts = [len(image.descriptors) for image in images]
        first = np.cumsum([0, *counts[:-1]])
        self.descriptors = np.concatenate([image.descriptors for image in images])
        self.foreground = np.concatenate([image.foreground for image in images])
        self.owners = np.repeat([int(image.owner) for image in images], counts)
        self.patches = np.concatenate([image.patches for image in images])
        regions = [image.region_of_patch + start for image, start in zip(images, first, strict=True)]
        self.region_of_patch = np.concatenate(regions).astype(np.int32)


def owner_of(digest: str) -> int:
    """Return the number that stands for an image among others, from its hexadecimal digest."""
    return int(digest[:15], 16)


def describe_regions(
    tokens: torch.Tensor,
    cuts: Sequence[torch.Tensor],
    foreground: np.ndarray,
    patches: torch.Tensor,
    take: np.ndarray,
    owners: Sequence[int],
    center: float,
) -> list[ImageRegions]:
    """Describe the regions of images.

    Args:
        tokens: (B, n, D) float32 stacked tokens.
        cuts: for each cut the (B, n) regions of the patches.
        foreground: (B, n) float32 probabilities.
        patches: (B, n, d) float16 whitened tokens.
        take: (B, m) drawn patches.
        owners: numbers of the images.
        center: share of the mean token of an image that is taken off its tokens, in [0, 1].
    """
    import torch
    from torch.nn.functional import normalize, one_hot

    inside = torch.cat([one_hot(labels).float() for labels in cuts], dim=2)  # (B, n, R)
    offsets = np.cumsum([0, *(int(labels.max()) + 1 for labels in cuts)])[:-1]
    count = inside.sum(1).cpu().numpy()
    if center:
        tokens = tokens - center * tokens.mean(1, keepdim=True)
    descriptors = normalize(inside.mT @ tokens, dim=2).half().cpu().numpy()
    within = (torch.from_numpy(foreground).to(tokens.device)[:, None] @ inside).squeeze(1).cpu().numpy()
    rows = torch.from_numpy(take).to(tokens.device)
    drawn = patches.gather(1, rows[:, :, None].expand(-1, -1, patches.shape[2])).cpu().numpy()
    regions = np.stack([labels.gather(1, rows).cpu().numpy() for labels in cuts], axis=2) + offsets
    found = []
    for i, owner in enumerate(owners):
        used = count[i] > 0
        found.append(
            ImageRegions(
                descriptors[i][used],
                (within[i][used] / count[i][used]).astype(np.float32),
                drawn[i],
                (np.cumsum(used) - 1)[regions[i]].astype(np.int32),
                np.array(owner, np.int64),
            )
        )
    return found
