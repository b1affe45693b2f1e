"""A bounded, uniform sample of the patches of a data set, the same for any batching or interruption."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from .types import ImageFeatures

__all__ = ["PatchSample", "border_patches", "image_rng", "sample_patches"]


@dataclass
class PatchSample:
    """Patches of many images and what is needed to group them.

    Attributes:
        vectors: (n, D) float16 patch features.
        image: (n,) int32 row of ``cls`` that the patch belongs to.
        border: (n,) bool, patch lies on its image's outermost ring.
        attention: (n,) float32 CLS attention in units of the image's mean, or ``None`` without that layer.
        cls: (m, D') float32 CLS features of the sampled images.
    """

    vectors: np.ndarray
    image: np.ndarray
    border: np.ndarray
    attention: np.ndarray | None
    cls: np.ndarray


def image_rng(seed: int, digest: str) -> np.random.Generator:
    """Return a generator that depends on the seed and the image's content alone."""
    return np.random.default_rng([seed, int(digest[:16], 16)])


def sample_patches(
    images: Iterable[ImageFeatures],
    n_images: int,
    vectors: Callable[[ImageFeatures], np.ndarray],
    *,
    budget: int,
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> PatchSample:
    """Draw about ``budget`` patches, the same number from every image, and at least one.

    Every image is treated alone (its own generator), so what is drawn does not depend on the order of the
    images.

    Args:
        images: stream of features with the layers ``vectors`` needs and ``cls``; ``attn`` is kept if there.
        n_images: number of images listed, known before the stream is read.
        vectors: returns the (h*w, D) array to sample from.
        budget: number of patches to aim for.
        seed: seed.
        advance: called once an image.

    Returns:
        The sample, at least one image if the stream yields one.
    """
    per_image = math.ceil(budget / max(1, n_images))
    drawn: list[PatchSample] = []
    for features in images:
        advance()
        patches = vectors(features)
        take = np.sort(image_rng(seed, features.digest).permutation(len(patches))[:per_image])
        attention = None
        if "attn" in features.layers:
            weights = np.asarray(features["attn"], dtype=np.float32)
            attention = weights[take] / max(float(weights.mean()), 1e-12)
        own = PatchSample(
            np.asarray(patches[take], dtype=np.float16),
            np.full(len(take), len(drawn), np.int32),
            border_patches(*features.grid)[take],
            attention,
            np.asarray(features["cls"], dtype=np.float32)[None],
        )
        drawn.append(own)
    if not drawn:
        nothing = np.zeros((0, 1), np.float16)
        return PatchSample(
            nothing, np.zeros(0, np.int32), np.zeros(0, bool), None, nothing.astype(np.float32)
        )
    attended = [one.attention for one in drawn if one.attention is not None]
    return PatchSample(
        np.concatenate([one.vectors for one in drawn]),
        np.concatenate([one.image for one in drawn]),
        np.concatenate([one.border for one in drawn]),
        np.concatenate(attended) if attended else None,
        np.concatenate([one.cls for one in drawn]),
    )


def border_patches(height: int, width: int) -> np.ndarray:
    """Return the (height*width,) bool mask of the outermost ring of patches."""
    ring = np.ones((height, width), dtype=bool)
    ring[1:-1, 1:-1] = False
    return ring.ravel()
