"""The options of LightCluster."""

from __future__ import annotations

from dataclasses import dataclass

from ...common.checks import DIMENSIONS, ROWS, Choice, Flag, Number, option
from ..options import CLASSES, LAYER, MethodConfig

__all__ = ["FOREGROUND_RULES", "LightClusterConfig"]

CLUSTERS = Number(1, 65_535)
FOREGROUND_RULES = ("border", "attention", "both")


@dataclass(frozen=True)
class LightClusterConfig(MethodConfig):
    """Options of :class:`~.method.LightCluster`; the same stand in a saved model."""

    n_classes: int = option(20, CLASSES, "K; fewer if there are fewer regions")
    layer: str = option("k-1", LAYER, "patch features of all three levels; k-1: keys of the last block")
    center: bool = option(False, Flag(), "subtract the mean direction of the patches")
    whiten: int | None = option(
        None, Number(1, DIMENSIONS, optional=True), "PCA components; blurs foreground and background"
    )
    n_dataset_clusters: int = option(
        3, Number(2, 65_535), "clusters of the data-set level; 2 is degenerate on some features"
    )
    n_categories: int | None = option(
        None,
        Number(1, 65_535, optional=True),
        "image groups of the category level, also half as many and one; null: sqrt(images) / 2, 1 to 32",
    )
    n_category_clusters: int = option(3, CLUSTERS, "patch clusters in each group")
    n_image_clusters: int = option(5, CLUSTERS, "patch clusters in one image")
    foreground_rule: str = option(
        "border", Choice(FOREGROUND_RULES), "what tells foreground clusters: border, attention, or both"
    )
    border_ratio: float = option(
        0.8, Number(0, 1e6, whole=False), "threshold of the border rule, of the average border share"
    )
    temperature: float = option(
        0.1, Number(1e-6, 1e6, whole=False), "softness of each level's vote, in squared distance"
    )
    max_foreground: float = option(
        0.95, Number(0, 1, whole=False), "a larger share of patches leaves it to the data-set level alone"
    )
    sample_size: int = option(
        16_384, Number(1, ROWS), "patches that the data-set and category levels are fitted on"
    )
    batch_size: int | None = option(
        None,
        Number(1, ROWS, optional=True),
        "mini-batches of these fits; null for Lloyd's algorithm, the same clusters from nearly every seed",
    )
    n_init: int = option(2, Number(1, 10_000), "restarts of every k-means over the data set")
    min_region: float = option(
        0.01, Number(0, 1, whole=False), "smallest region, a share of the image, unless all are smaller"
    )
    max_regions: int = option(8, CLUSTERS, "regions kept in one image")
    context: float = option(
        0.1, Number(0, 1e6, whole=False), "context around a region's box, a share of its size, every side"
    )
