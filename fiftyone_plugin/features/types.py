"""What a method sees of an image, and of a data set: features that can be iterated again, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

__all__ = ["Box", "FeatureSource", "ImageFeatures"]

Box = tuple[int, int, int, int]
"""(y0, x0, y1, x1) in native pixels, end exclusive."""


@dataclass
class ImageFeatures:
    """Features of one image and the means to get more of it.

    Attributes:
        key: name of the image within the run, unique (its relative path).
        digest: sha256 of the file's bytes; seeds everything random that is done to this image alone, so that
            results do not depend on order, batching or resuming.
        size: native (height, width) in pixels, after EXIF orientation.
        grid: (h, w) patches.
        layers: layer name -> array, see :mod:`fiftyone_plugin.backbones.vit` for names and shapes.
        read_image: returns the native (H, W, 3) uint8 RGB image.
        crop_cls: boxes -> (n, D) float32 CLS features of those crops, through the backbone.
        memo: optional store of arrays derived from this image by a fitted method: ``memo(name, compute)``
            returns what ``compute()`` returned the first time it was asked for ``name``, also after a restart.
    """

    key: str
    digest: str
    size: tuple[int, int]
    grid: tuple[int, int]
    layers: dict[str, np.ndarray]
    read_image: Callable[[], np.ndarray]
    crop_cls: Callable[[list[Box]], np.ndarray]
    memo: Callable[[str, Callable[[], dict[str, np.ndarray]]], dict[str, np.ndarray]] = field(
        default=lambda name, compute: compute()
    )

    def __getitem__(self, layer: str) -> np.ndarray:
        """Return the array of one layer."""
        return self.layers[layer]


class FeatureSource(Protocol):
    """A stream of images that can be iterated again, always in the same order; bad images are left out."""

    def __len__(self) -> int:
        """Number of images listed; the stream may yield fewer, where some cannot be read."""

    def __iter__(self) -> Iterator[ImageFeatures]:
        """Yield the features of one image after the other."""
