"""The tokens that AlignSeg's decoder and losses see, and what training keeps of the images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...clustering.normalize import VectorNormalizer, blur_patches
from ...clustering.region_classes import stack_layers
from ...common.parallel import one_thread
from ...features.sampling import image_rng
from ...features.types import ImageFeatures

__all__ = ["TokenEmbedding", "TrainingImage", "collect_images"]


@dataclass(frozen=True)
class TokenEmbedding:
    """Maps the layers of an image, or of a crop, to tokens of equal norm.

    Attributes:
        layers: names of patch features.
        smooth: sigma in patches of a Gaussian blur; 0 for none.
        normalizer: centres or whitens; fitted.
    """

    layers: tuple[str, ...]
    smooth: float
    normalizer: VectorNormalizer

    def embed(self, layers: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return (n, d) float32 tokens of norm sqrt(d), of a square grid of n patches."""
        with one_thread():
            tokens = self.normalizer.transform(stack_layers([layers[name] for name in self.layers]))
        side = round(len(tokens) ** 0.5)
        tokens = blur_patches(tokens, (side, side), self.smooth)
        return np.asarray(tokens * np.float32(tokens.shape[1] ** 0.5))


@dataclass(frozen=True)
class TrainingImage:
    """What training keeps of an image.

    Attributes:
        digest: sha256 of the file; orders the images.
        size: native (height, width).
        tokens: (h, w, D) float16, where crops are made of tokens.
        attention: (h, w) float32, where crops are made of tokens and attention is used.
        read_image: reads the pixels.
        encode: runs pixels through the backbone.
    """

    digest: str
    size: tuple[int, int]
    tokens: np.ndarray | None
    attention: np.ndarray | None
    read_image: Callable[[], np.ndarray]
    encode: Callable[[np.ndarray, Sequence[str]], dict[str, np.ndarray]]


def collect_images(
    images: Iterable[ImageFeatures],
    n_images: int,
    tokens: TokenEmbedding | None,
    *,
    attention: bool,
    max_images: int,
    seed: int,
    advance: Callable[[], object],
) -> list[TrainingImage]:
    """Keep what training needs of a bounded number of images: at least one, if the stream yields one.

    Of more than ``max_images`` about that many are drawn, each by its content alone. ``tokens`` makes the
    tokens to keep, none for crops of pixels; ``attention`` keeps that, too.
    """
    keep = max_images / max(1, n_images)
    kept: list[TrainingImage] = []
    passed_over: ImageFeatures | None = None
    for image in images:
        advance()
        if image_rng(seed, image.digest).random() < keep:
            kept.append(_keep(image, tokens, attention))
        else:
            passed_over = passed_over or image
    if not kept and passed_over is not None:
        kept.append(_keep(passed_over, tokens, attention))
    return kept


def _keep(image: ImageFeatures, tokens: TokenEmbedding | None, attention: bool) -> TrainingImage:
    grid = weights = None
    if tokens is not None:
        grid = tokens.embed(image.layers).astype(np.float16).reshape(*image.grid, -1)
        if attention:
            weights = np.asarray(image["attn"], np.float32).reshape(image.grid)
    return TrainingImage(image.digest, image.size, grid, weights, image.read_image, image.encode)
