"""DatUS² and AlignSeg as they were published or released, where the methods of the package do otherwise.

    python -m benchmarks.quality --data DIR --methods datus-published
    python -m benchmarks.per_image --data DIR

Whatever the package keeps as an option is set here; the rest overrides a small hook. A model saved with such
options by an earlier version is read by these classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from fiftyone_plugin.clustering.kmeans import ReproducibleKMeans
from fiftyone_plugin.clustering.region_classes import RegionClasses
from fiftyone_plugin.common.checks import option
from fiftyone_plugin.features.types import ImageFeatures
from fiftyone_plugin.images.reading import resize_image
from fiftyone_plugin.masks.scores import LabelScores
from fiftyone_plugin.methods.alignseg.config import AlignSegConfig
from fiftyone_plugin.methods.alignseg.method import AlignSeg
from fiftyone_plugin.methods.alignseg.model import Decoder, correlation, cosine
from fiftyone_plugin.methods.alignseg.training import CropBatch, Trainer
from fiftyone_plugin.methods.base import hard_scores
from fiftyone_plugin.methods.datus.config import DatUSConfig
from fiftyone_plugin.methods.datus.method import DatUS, cut_box, native_segments
from fiftyone_plugin.methods.registry import CATALOG, MethodNote

__all__ = ["PublishedAlignSeg", "PublishedDatUS", "ReleasedDecoder", "ReleasedTrainer", "center_crop"]

RELEASED_WEIGHT = 0.15  # of AlignSeg's summed loss, hard-coded in the released code


def _default(config: type[Any], name: str, value: object) -> Any:
    """Return the option of a config with another default."""
    field = config.__dataclass_fields__[name]
    return option(value, field.metadata["rule"], field.metadata["help"])


# ---------------------------------------------------------------------- DatUS²


@dataclass(frozen=True)
class PublishedDatUSConfig(DatUSConfig):
    """DatUS (section III), and the behaviour of its released code."""

    retired: ClassVar[dict[str, object]] = {
        "preset": "published",
        "crop": "black",
        "crop_fit": "center",
        "batch_size": 2048,
        "upsample": "ids",
    }

    layer: str = _default(DatUSConfig, "layer", "k-1")
    center: bool = _default(DatUSConfig, "center", False)
    weighted: bool = _default(DatUSConfig, "weighted", False)
    neighbours: int | None = _default(DatUSConfig, "neighbours", None)
    noise: str = _default(DatUSConfig, "noise", "void")
    descriptor: str = _default(DatUSConfig, "descriptor", "cls")
    whiten: int | None = _default(DatUSConfig, "whiten", None)
    n_init: int = _default(DatUSConfig, "n_init", 1)


class MiniBatchClasses(RegionClasses):
    """Regions clustered by k-means in mini-batches."""

    def _kmeans(self) -> ReproducibleKMeans:
        return super()._kmeans().set_params(batch_size=2048)


class PublishedDatUS(DatUS):
    """Black crops that are squashed and cut to their centre, mini-batch k-means, ids of patches as masks.

    The published PCA keeps all components unscaled: a rotation, which no distance sees, so it is left out.
    """

    config_class = PublishedDatUSConfig

    def _crops(self, image: ImageFeatures, segments: np.ndarray, n: int) -> list[np.ndarray]:
        size = self.config.crop_size
        pixels = resize_image(image.read_image(), size, size)  # the released code squashes the image first
        native = native_segments(segments, image.grid, pixels.shape[:2])
        return [center_crop(pixels, native == i, size) for i in range(n)]

    def _region_classes(self) -> RegionClasses:
        return MiniBatchClasses(**super()._region_classes().get_params())

    def _scores(self, image: ImageFeatures, of_patch: np.ndarray) -> LabelScores:
        return hard_scores(native_segments(of_patch, image.grid, image.size), refined=True)


def center_crop(pixels: np.ndarray, mask: np.ndarray, size: int) -> np.ndarray:
    """Cut the box of a segment, black elsewhere, shorter side 8/7 of ``size``, and take its centre.

    Args:
        pixels: (H, W, 3) uint8.
        mask: (H, W) bool, not empty.
        size: side in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    cut = cut_box(pixels, mask, (0, 0, 0))
    scale = size * 8 / 7 / min(cut.shape[:2])
    height, width = (max(size, round(n * scale)) for n in cut.shape[:2])
    resized = resize_image(np.ascontiguousarray(cut), height, width)
    top, left = (height - size) // 2, (width - size) // 2
    return np.ascontiguousarray(resized[top : top + size, left : left + size])


# ---------------------------------------------------------------------- AlignSeg


@dataclass(frozen=True)
class PublishedAlignSegConfig(AlignSegConfig):
    """AlignSeg but for the number of epochs; 3,300 steps are 10 epochs of 10,582 images."""

    retired: ClassVar[dict[str, object]] = {
        "chained": False,
        "crop_order": "released",
        "keep_mean": True,
        "loss": "sum",
    }

    crops: str = _default(AlignSegConfig, "crops", "pixels")
    whiten: int | None = _default(AlignSegConfig, "whiten", None)
    smooth: float = _default(AlignSegConfig, "smooth", 0.0)
    n_layers: int = _default(AlignSegConfig, "n_layers", 1)
    n_heads: int = _default(AlignSegConfig, "n_heads", 3)
    prototypes: str = _default(AlignSegConfig, "prototypes", "random")
    attention: float = _default(AlignSegConfig, "attention", 0.6)
    pressure: float = _default(AlignSegConfig, "pressure", 0.11)
    temperature: float = _default(AlignSegConfig, "temperature", 1.0)
    batch_size: int = _default(AlignSegConfig, "batch_size", 32)
    learning_rate: float = _default(AlignSegConfig, "learning_rate", 5e-4)
    adapt_steps: int = _default(AlignSegConfig, "adapt_steps", 0)
    min_patches: int = _default(AlignSegConfig, "min_patches", 1)
    patience: int | None = _default(AlignSegConfig, "patience", None)


class ReleasedDecoder(Decoder):
    """All layers are fed the learnt prototypes and the last one's output counts: the others never learn."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map (B, n, D) tokens to (B, Q, D) adaptive prototypes."""
        return self.layers[-1](self.prototypes.expand(len(tokens), -1, -1), tokens)


class ReleasedTrainer(Trainer):
    """The loss is a sum over pairs, the batch's mean correlation is put back, local crops are mixed up."""

    def loss(self, batch: CropBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the weighted total, the image alignment and the prototype alignment of a batch."""
        # the masks were never mixed up
        _, image, prototype = super().loss(batch._replace(local=scramble(batch.local)))
        return RELEASED_WEIGHT * image + prototype, image, prototype

    def image_alignment(self, world: torch.Tensor, local: torch.Tensor, *pair: torch.Tensor) -> torch.Tensor:
        """Return the sum over pairs; it grows with the batch and with the foreground's area."""
        a, b, mask_a, mask_b = pair
        target = correlation_with_mean(world, local)
        pairs = (mask_a.unsqueeze(-1) & mask_b.unsqueeze(-2)).to(target.dtype)
        return (-(a @ b.transpose(-1, -2)) * (target - self.recipe.pressure) * pairs).sum()


def correlation_with_mean(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return :func:`correlation` with the mean over the whole batch put back."""
    centred = correlation(x, y)
    return centred - centred.mean() + cosine(x, y).detach().mean()


def scramble(local: np.ndarray) -> np.ndarray:
    """Mix up local crops across images: they leave the backbone crop by crop and are read image by image.

    Args:
        local: (B, L, ...) crops of the images.

    Returns:
        (B, L, ...) of which crop l of image b is crop c of image i where ``b * L + l == c * B + i``.
    """
    return np.ascontiguousarray(local.swapaxes(0, 1)).reshape(local.shape)


class PublishedAlignSeg(AlignSeg):
    """The released decoder and loss; needs a GPU: each step runs 96 crops through the backbone."""

    config_class = PublishedAlignSegConfig

    def _parts(self) -> tuple[type[Decoder], type[Trainer]]:
        return ReleasedDecoder, ReleasedTrainer


METHODS = {
    f"{name}-published": MethodNote(
        f"benchmarks.published:{cls.__name__}", f"{name}, published", "for comparison"
    )
    for name, cls in (("datus", PublishedDatUS), ("alignseg", PublishedAlignSeg))
}
"""For the registry of a benchmark's process."""


def register_all() -> None:
    """Add these methods to the registry of this process."""
    CATALOG.update(METHODS)
