"""Cutting the images of a fit into regions, all of a batch at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...clustering.lloyd import draws_for, lloyd
from ...clustering.normalize import DeviceNormalizer, VectorNormalizer, blur_tensors, normalizer_arrays
from ...features.sampling import image_rng
from ...features.types import FeatureBatch, ImageFeatures
from ..lightcluster.levels import Levels
from .config import STACK, MosaicConfig
from .reduction import Reduction
from .regions import ImageRegions, describe_regions, owner_of

if TYPE_CHECKING:
    import torch

__all__ = ["CUT_COMPONENTS", "Cutting"]

CUT_COMPONENTS = 64  # PCA components that images are cut by


class Cutting:
    """Cuts images by k-means in every way that the options name, and describes the regions.

    Args:
        config: options of the method.
        reduction: of the images.
        normalizers: whitenings of the layers that images are cut by, without the stack.
        levels: tells the foreground; ``None`` where it does not count.
        n_images: how many images share the patches that the head learns from.
        center: share of its mean token that is taken off an image, see :mod:`.scene`.

    Attributes:
        name: stands for all that the regions depend on besides the image, to keep them by.
    """

    def __init__(
        self,
        config: MosaicConfig,
        reduction: Reduction,
        normalizers: Mapping[str, VectorNormalizer],
        levels: Levels | None,
        n_images: int,
        center: float,
    ) -> None:
        self.config = config
        self.reduction = reduction
        self.normalizers = {
            layer: DeviceNormalizer(own, reduction.device) for layer, own in normalizers.items()
        }
        self.levels = levels
        self.center = center
        self.n_patches = -(-config.head_patches // max(1, n_images))
        identity = hashlib.sha256(
            json.dumps([config.to_json(), reduction.name, self.n_patches, center]).encode()
        )
        arrays = {layer: normalizer_arrays(own) for layer, own in normalizers.items()}
        arrays["levels"] = levels.get_state()[1] if levels is not None else {}
        for of_one in arrays.values():
            for array in of_one.values():
                identity.update(array.tobytes())
        self.name = identity.hexdigest()[:16]

    def __call__(self, batch: FeatureBatch) -> list[ImageRegions]:
        """Return the regions of images; what labels them later is put into their memos."""
        config, images, reduction = self.config, batch.images, self.reduction
        stacked = reduction.stacked(batch.tensors)
        whitened = reduction.whiten(stacked)
        reduced = reduction(whitened)
        for image, arrays in zip(images, reduced.arrays(), strict=True):
            image.memo.put(reduction.name, arrays)
        n = stacked.shape[1]
        foreground = np.zeros((len(images), n), np.float32)
        if self.levels is not None:
            for row, image in zip(foreground, images, strict=True):
                vote = self.levels.vote(image[config.cue], image["cls"], image.grid, image.digest)
                row[:] = vote[1].ravel()
        drawn = [
            np.random.default_rng(self._seed(image)).permutation(n)[: self.n_patches] for image in images
        ]
        return describe_regions(
            stacked,
            self.cut(batch.tensors, whitened, images),
            foreground,
            reduced.head,
            np.sort(drawn, axis=1),
            [owner_of(image.digest) for image in images],
            self.center,
        )

    def cut(
        self, tensors: Mapping[str, torch.Tensor], whitened: torch.Tensor, images: Sequence[ImageFeatures]
    ) -> list[torch.Tensor]:
        """Return for each cut the (B, n) int64 regions of the patches of images, see :class:`.Reduction`."""
        import torch
        from torch.nn.functional import normalize

        config = self.config
        cuts = []
        for layer, number in config.cuts:
            if layer == STACK:
                vectors = normalize(whitened[:, :, :CUT_COMPONENTS], dim=2)
            else:
                vectors = self.normalizers[layer](tensors[layer].float())
            cuts.append((blur_tensors(vectors, images[0].grid, config.blur), number))
        if config.cue_regions:
            cuts.append((normalize(tensors[config.cue].float(), dim=2), config.cue_regions))
        seeds = [self._seed(image) for image in images]
        return [
            lloyd(x, torch.from_numpy(np.stack([draws_for(number, seed) for seed in seeds])).to(x.device))
            for x, number in cuts
        ]

    def _seed(self, image: ImageFeatures) -> int:
        return int(image_rng(self.config.random_state, image.digest).integers(2**31))
