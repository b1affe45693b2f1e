"""A bounded, uniform sample of the patches of a data set, the same for any order, batching or interruption."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from ..features.types import ImageFeatures
from .foreground import border_patches

__all__ = ["PatchSample", "image_rng", "sample_patches"]


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
    max_images: int = 8192,
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> PatchSample:
    """Draw about ``budget`` patches, the same number from every image.

    Every image is treated alone (its own generator), so the sample does not depend on the order of the images
    and could be drawn by many workers. Memory is bounded by ``budget`` and ``max_images``, not by ``n_images``.

    Args:
        images: stream of features with the layers ``vectors`` needs and ``cls``; ``attn`` is kept if there.
        n_images: number of images listed, known before the stream is read.
        vectors: returns the (h*w, D) array to sample from.
        budget: number of patches to aim for.
        max_images: beyond this many images, a random subset of about this size is read.
        seed: seed.
        advance: called once an image.

    Returns:
        The sample, at least one image if the stream yields one.
    """
    keep_probability = min(1.0, max_images / max(1, n_images))
    per_image = math.ceil(budget / max(1, min(n_images, max_images)))
    parts: list[np.ndarray] = []
    attention: list[np.ndarray] = []
    border: list[np.ndarray] = []
    cls: list[np.ndarray] = []
    for features in images:
        advance()
        rng = image_rng(seed, features.digest)
        if rng.random() > keep_probability and cls:
            continue
        patches = vectors(features)
        take = np.sort(rng.permutation(len(patches))[:per_image])
        parts.append(np.asarray(patches[take], dtype=np.float16))
        border.append(border_patches(*features.grid)[take])
        cls.append(np.asarray(features["cls"], dtype=np.float32))
        if "attn" in features.layers:
            weights = np.asarray(features["attn"], dtype=np.float32)
            attention.append(weights[take] / max(float(weights.mean()), 1e-12))
    counts = [len(part) for part in parts]
    return PatchSample(
        vectors=np.concatenate(parts) if parts else np.zeros((0, 1), np.float16),
        image=np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        border=np.concatenate(border) if border else np.zeros(0, bool),
        attention=np.concatenate(attention) if attention else None,
        cls=np.stack(cls) if cls else np.zeros((0, 1), np.float32),
    )
