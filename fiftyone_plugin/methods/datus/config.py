"""The options of DatUS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...clustering.communities import ALGORITHMS
from ...clustering.region_classes import CLUSTERINGS
from ...common.checks import DIMENSIONS, ROWS, Choice, Flag, Number, Options, Several, option
from ...errors import UsageError
from ..options import CLASSES, LAYER, MethodConfig

__all__ = ["DatUSConfig", "SegmentSettings"]

CROP_STEP = 112  # the least common multiple of the usual patch sizes, 8, 14 and 16


@dataclass(frozen=True)
class SegmentSettings(Options):
    """How an image is cut into segments."""

    center: bool = option(True, Flag(), "subtract the image's mean from the features")
    weighted: bool = option(True, Flag(), "edges weigh the cosine, else all weigh the same")
    neighbours: int | None = option(
        30, Number(2, ROWS, optional=True), "strongest edges kept at each patch; null: every positive one"
    )
    algorithm: str = option("louvain", Choice(ALGORITHMS), "of the community detection")
    resolution: float = option(
        1.0, Number(1e-6, 1e6, whole=False), "of the community detection; higher gives more segments"
    )
    min_patches: int = option(5, Number(0, ROWS), "a segment needs more patches than this")
    max_segments: int = option(32, Number(1, 65_535), "segments kept in one image, the largest")
    noise: str = option(
        "neighbour",
        Choice(("neighbour", "void")),
        "other patches join the adjacent segment of highest affinity, or are void, label 0",
    )


@dataclass(frozen=True)
class DatUSConfig(SegmentSettings, MethodConfig):
    """Options of :class:`~.method.DatUS`; the same stand in a saved model."""

    retired: ClassVar[dict[str, object]] = {
        "preset": "default",
        "crop": "mean",
        "crop_fit": "pad",
        "batch_size": None,
        "upsample": "soft",
    }

    n_classes: int = option(20, CLASSES, "K; every pixel gets one, where noise is not void")
    layer: str = option("out", LAYER, "patch features of the graph")
    descriptor: str = option(
        "pooled",
        Choice(("pooled", "cls")),
        "of a segment: mean of the image's own tokens, or CLS token of a crop, a forward pass each",
    )
    descriptor_layers: tuple[str, ...] = option(
        ("t-4", "t-3", "t-1"), Several(LAYER), "token layers that are pooled"
    )
    crop_size: int = option(
        224, Number(CROP_STEP, 4096), f"side of a crop in pixels, a multiple of {CROP_STEP}"
    )
    whiten: int | None = option(
        64, Number(1, DIMENSIONS, optional=True), "PCA components of the descriptors, whitened; null: none"
    )
    clustering: str = option("kmeans", Choice(CLUSTERINGS), "of the segments of all images")
    n_init: int = option(10, Number(1, 10_000), "restarts of k-means over the segments")

    def check(self) -> None:
        """Refuse crops that no backbone takes, see :class:`~fiftyone_plugin.common.checks.Options`."""
        if self.crop_size % CROP_STEP:
            raise UsageError(f"crop_size must be a multiple of {CROP_STEP}, got {self.crop_size}")
