"""Regions of masks and what they look like to the backbone: the mean of its tokens over the region."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from ...common.parallel import one_thread
from ...common.progress import Progress
from ...features.types import ImageFeatures
from ...masks.regions import MaskRegions, find_regions
from .run import EditableRun, MaskRow

if TYPE_CHECKING:
    from ...features.source import ImageFeatureSource

__all__ = ["Features", "Sampled", "open_features", "patch_shares", "pool_tokens"]

T = TypeVar("T")
NOT_PATCHES = ("cls", "attn")  # layers without a vector for every patch


def patch_shares(regions: np.ndarray, n: int, grid: tuple[int, int]) -> np.ndarray:
    """Return how many pixels of every region lie in every patch.

    Args:
        regions: (H, W) int region of every pixel, 1..n; 0 belongs to none.
        n: number of regions.
        grid: (h, w) patches that the image was squeezed into.

    Returns:
        (n, h*w) float32; every row sums to the region's area.
    """
    (height, width), (h, w) = regions.shape, grid
    # a pixel belongs to the patch that its centre falls into
    row = (2 * np.arange(height) + 1) * h // (2 * height)
    column = (2 * np.arange(width) + 1) * w // (2 * width)
    patch = (row[:, None] * w + column).ravel()
    flat = regions.ravel()
    inside = np.flatnonzero(flat)
    keys = (flat[inside] - 1) * (h * w) + patch[inside]
    return np.bincount(keys, minlength=n * h * w).reshape(n, h * w).astype(np.float32)


def pool_tokens(tokens: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Average (P, D) float tokens, one a patch, over regions, by (R, P) shares from :func:`patch_shares`.

    Returns:
        (R, D) float32 of unit length.
    """
    from ...clustering.normalize import l2_normalize

    weights = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    with one_thread():
        return l2_normalize(weights @ np.asarray(tokens, np.float32))


class Features:
    """Regions of the masks ``rows`` of a run, and what they look like to its backbone.

    ``source`` has the features of their images, ``keys`` tells the key in it of an image's path.
    """

    def __init__(
        self, run: EditableRun, source: ImageFeatureSource, rows: Sequence[MaskRow], keys: dict[str, str]
    ) -> None:
        self.source = source
        self._run = run
        self._rows = {keys[row.image]: row for row in rows}

    def regions(
        self, stage: str, ids: Sequence[int] | None, progress: Progress, but: Collection[str] = ()
    ) -> Iterator[tuple[MaskRow, ImageFeatures, np.ndarray, MaskRegions]]:
        """Yield masks with what their images look like, in the order of the images' keys, and their regions.

        Those that cannot be read, are among the names ``but``, or have no region of the classes ``ids``
        (``None`` for all) are passed over.
        """
        with progress.stage(stage, total=len(self.source)) as counted:
            for image in self.source:
                counted.update()
                row = self._rows[image.key]
                mask = None if row.name in but else self._run.read(row)
                if mask is not None and len(regions := find_regions(mask, ids)):
                    yield row, image, mask, regions

    def describe(self, image: ImageFeatures, regions: MaskRegions) -> np.ndarray:
        """Return (R, D) float32 unit descriptors of the regions of an image."""
        from ...clustering.region_classes import stack_layers

        tokens = stack_layers([image[layer] for layer in self.source.resolved])
        return pool_tokens(tokens, patch_shares(regions.map, len(regions), image.grid))

    @property
    def failures(self) -> set[str]:
        """Names of the masks whose image could not be read so far."""
        return {self._rows[key].name for key in self.source.failures}


def open_features(run: EditableRun, rows: Sequence[MaskRow], backbone: str | None = None) -> Features:
    """Return the features of the images of ``rows`` by the backbone, input size and patch layers of a run.

    What the feature cache still holds from the run, if it was told to use one, is not computed again.
    ``backbone`` is a name or checkpoint of the same weights, where the run's own checkpoint has moved.

    Raises:
        UsageError: the model of the run is gone, or the backbone has other weights.
        MissingDependencyError: the weights are not there.
    """
    from ...images.listing import list_images
    from ...runs.config import LabelConfig
    from ...runs.folder import RunDirectory
    from ...runs.model import FittedModel
    from ...runs.session import Session

    model = FittedModel.load(run.out / "model")
    record = RunDirectory(run.out).read_run()
    cache = record is not None and bool(record.resources.get("cache"))
    session = Session.open(LabelConfig(backbone=backbone, cache=cache), model)
    layers = [layer for layer in model.method.inputs if layer not in NOT_PATCHES] or ["out"]
    items = list_images(sorted({row.image for row in rows}))
    return Features(run, session.source(items, layers), rows, {item.path: item.key for item in items})


class Sampled(Generic[T]):
    """At most ``size`` of what is added, drawn at random; the same seed and order draw the same."""

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._rng = size, np.random.default_rng(seed)
        self._drawn: list[tuple[float, T]] = []

    def add(self, items: Sequence[T]) -> None:
        """Offer some."""
        self._drawn += zip(self._rng.random(len(items)).tolist(), items, strict=True)
        if len(self._drawn) > 2 * self._size:
            self._cut()

    def items(self, *, cut: bool = True) -> list[T]:
        """Return what was drawn; without ``cut``, as it came and up to twice as many."""
        if cut:
            self._cut()
        return [item for _, item in self._drawn]

    def _cut(self) -> None:
        self._drawn = sorted(self._drawn, key=lambda pair: pair[0])[: self._size]
