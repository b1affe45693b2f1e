"""A source of features made up in memory: objects of a few kinds in the middle of coloured grounds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch

from fiftyone_plugin.common.parallel import batched
from fiftyone_plugin.errors import ImageReadError
from fiftyone_plugin.features.types import FeatureBatch, ImageFeatures, NoMemo
from fiftyone_plugin.images.boxes import Box

GRID = 8
DIM = 16
COLOURS = np.array([[40, 90, 160], [60, 140, 60], [220, 60, 50], [230, 210, 60], [250, 250, 250]], np.uint8)


def directions() -> np.ndarray:
    """Orthogonal unit vectors: two grounds, then kinds of objects."""
    return np.linalg.qr(np.random.default_rng(0).normal(size=(DIM, DIM)))[0][: len(COLOURS)].astype(
        np.float32
    )


class DictMemo(dict):
    """Keeps arrays in memory."""

    def put(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        self[name] = {key: array.copy() for key, array in arrays.items()}


def pixels(labels: np.ndarray) -> np.ndarray:
    """Module level, so that it can be sent to worker processes."""
    return COLOURS[labels]


def unreadable(path: str) -> np.ndarray:
    raise ImageReadError(path, "truncated file")


def make_image(
    labels: np.ndarray, key: str, *, noise: float = 0.05, memo: bool = False, broken: bool = False
) -> ImageFeatures:
    """Turn an (H, W) map of indices into :data:`COLOURS` (0 and 1 are grounds) into features.

    ``broken``: the features are there, the pixels cannot be read any more.
    """
    digest = hashlib.sha256(labels.tobytes() + repr(labels.shape).encode()).hexdigest()
    rng = np.random.default_rng(int(digest[:8], 16))
    unit = directions()
    height, width = labels.shape
    rows = np.minimum((np.arange(GRID) * height + height // 2) // GRID, height - 1)
    columns = np.minimum((np.arange(GRID) * width + width // 2) // GRID, width - 1)
    patches = unit[labels[np.ix_(rows, columns)].ravel()]
    patches = patches + noise * rng.normal(size=patches.shape) / np.sqrt(DIM)

    def describe(box: Box) -> np.ndarray:
        y0, x0, y1, x1 = box
        assert 0 <= y0 < y1 <= height
        assert 0 <= x0 < x1 <= width
        return unit[labels[y0:y1, x0:x1].ravel()].mean(0)

    def crop_cls(boxes: list[Box]) -> np.ndarray:
        if broken:
            unreadable(key)
        return np.stack([describe(box) for box in boxes]).astype(np.float32)

    def encode(crops: np.ndarray, layers: Sequence[str]) -> dict[str, np.ndarray]:
        assert list(layers) == ["cls"]
        distance = np.abs(crops[..., None, :].astype(int) - COLOURS.astype(int)).sum(-1)
        known = distance.min(-1) < 60  # not padding
        kinds = distance.argmin(-1)
        return {
            "cls": np.stack(
                [unit[k[ok]].mean(0) if ok.any() else unit[0] for k, ok in zip(kinds, known, strict=True)]
            ).astype(np.float32)
        }

    middle = (labels[np.ix_(rows, columns)].ravel() > 1).astype(np.float32)
    return ImageFeatures(
        key=key,
        digest=digest,
        size=(height, width),
        grid=(GRID, GRID),
        layers={
            "out": patches.astype(np.float16),
            "cls": describe((0, 0, height, width)).astype(np.float32),
            "attn": (middle + 0.2) / (middle + 0.2).sum(),
        },
        read_image=partial(unreadable, key) if broken else partial(pixels, labels),
        crop_cls=crop_cls,
        encode=encode,
        memo=DictMemo() if memo else NoMemo(),
    )


def scene(index: int, size: tuple[int, int] = (64, 64), kinds: int = 3) -> np.ndarray:
    """One object off the border on one of two grounds; its kind, place and size follow from the index."""
    rng = np.random.default_rng(1000 + index)
    height, width = size
    labels = np.full(size, index % 2, np.int64)
    top, left = rng.integers(height // 8, height // 3), rng.integers(width // 8, width // 3)
    bottom, right = (
        rng.integers(2 * height // 3, 7 * height // 8),
        rng.integers(2 * width // 3, 7 * width // 8),
    )
    labels[top:bottom, left:right] = 2 + index % kinds
    return labels


class MemorySource(list):
    """A list of images is a source; it can be iterated again, in the same order."""

    batch_size = 3

    def __iter__(self) -> Iterator[ImageFeatures]:
        return super().__iter__()

    def batches(self, *, skip: Callable[[str], bool] | None = None) -> Iterator[FeatureBatch]:
        wanted = (image for image in self if skip is None or not skip(image.digest))
        for images in batched(wanted, self.batch_size):
            yield batch_of(images)

    def opening(self) -> MemorySource:
        return self


def batch_of(images: Sequence[ImageFeatures]) -> FeatureBatch:
    """Return images as they come from the network together."""
    names = images[0].layers.keys()
    tensors = {n: torch.stack([torch.from_numpy(np.array(i[n])) for i in images]) for n in names}
    return FeatureBatch(list(images), tensors)


def scenes(n: int = 12, **options) -> MemorySource:
    return MemorySource(make_image(scene(i), f"{i:03}.png", **options) for i in range(n))
