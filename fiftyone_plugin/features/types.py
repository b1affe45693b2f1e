"""What a method sees of an image and of a data set: features, iterated again at will in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..images.boxes import Box

if TYPE_CHECKING:
    import torch

__all__ = ["FeatureBatch", "FeatureSource", "ImageFeatures", "Memo", "NoMemo"]


class Memo(Protocol):
    """Keeps arrays that a fitted method derived from one image, also over a restart."""

    def get(self, name: str) -> dict[str, np.ndarray] | None:
        """Return what was put under ``name``, or ``None``."""

    def put(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Keep ``arrays`` under ``name``."""


class NoMemo:
    """Keeps nothing."""

    def get(self, name: str) -> dict[str, np.ndarray] | None:
        """Return ``None``."""
        return None

    def put(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Forget ``arrays``."""


@dataclass
class ImageFeatures:
    """Features of one image and the means to get more of it.

    Attributes:
        key: name of the image within the run, unique (its relative path).
        digest: sha256 of the file's bytes; seeds everything random that is done to this image alone, so that
            results do not depend on order, batching or resuming.
        size: native (height, width) in pixels, after EXIF orientation.
        grid: (h, w) patches.
        layers: layer name -> array, see :mod:`.backbones.vit` for names and shapes. May be
            lazy: a layer is read or computed when it is first asked for.
        read_image: returns the native (H, W, 3) uint8 RGB image; picklable, for use in worker processes.
        crop_cls: boxes -> (n, D) float32 CLS features of those crops, through the backbone.
        encode: (n, S, S, 3) uint8 pixels, layer names -> features of each, through the backbone in batches;
            S a multiple of the patch size. For crops that :attr:`crop_cls` does not make.
        memo: keeps arrays derived from this image.
        stamp: ``size:mtime_ns`` of the file whose content this is; empty where there is no file.
    """

    key: str
    digest: str
    size: tuple[int, int]
    grid: tuple[int, int]
    layers: Mapping[str, np.ndarray]
    read_image: Callable[[], np.ndarray]
    crop_cls: Callable[[list[Box]], np.ndarray]
    encode: Callable[[np.ndarray, Sequence[str]], dict[str, np.ndarray]]
    memo: Memo = field(default_factory=NoMemo)
    stamp: str = ""

    def __getitem__(self, layer: str) -> np.ndarray:
        """Return the array of one layer."""
        return self.layers[layer]


@dataclass(frozen=True)
class FeatureBatch:
    """Images that went through the network together; their numbers are on its device.

    Attributes:
        images: one by one; their layers are those of ``tensors``, brought to memory when they are asked for.
        tensors: layer name, as the method names it -> (B, n, D) float16, or (B, D) float32 for ``cls`` and
            (B, n) float32 for ``attn``; see :mod:`.backbones.vit`.
    """

    images: list[ImageFeatures]
    tensors: Mapping[str, torch.Tensor]

    def __len__(self) -> int:
        return len(self.images)


class FeatureSource(Protocol):
    """A stream of images that can be iterated again, always in the same order; bad images are left out."""

    def __len__(self) -> int:
        """Number of images listed; the stream may yield fewer, where some cannot be read."""

    def __iter__(self) -> Iterator[ImageFeatures]:
        """Yield the features of one image after the other."""
        for batch in self.batches():
            yield from batch.images

    def batches(self, *, skip: Callable[[str], bool] | None = None) -> Iterator[FeatureBatch]:
        """Yield the same images in batches, on the device of the network.

        Args:
            skip: is asked about the digest of every image, in order and each once; images for which it is
                true are left out, and need not go through the network.
        """

    def opening(self) -> FeatureSource:
        """Return a uniform part of the images: as many as can be kept in memory for the pass that follows.

        Where all fit, that is all of them. What is read of it is not computed again in the next pass.
        """
