"""The options of AlignSeg; benchmarks/published.py has the published ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...clustering.region_classes import CLUSTERINGS
from ...common.checks import DIMENSIONS, ROWS, Choice, Flag, Number, Several, option
from ..options import CLASSES, LAYER, MethodConfig

__all__ = ["AlignSegConfig"]

COMPONENTS = Number(1, DIMENSIONS, optional=True)
TEMPERATURE = Number(1e-3, 1e6, whole=False)


@dataclass(frozen=True)
class AlignSegConfig(MethodConfig):
    """Options of :class:`~.method.AlignSeg`; the same stand in a saved model."""

    retired: ClassVar[dict[str, object]] = {
        "chained": True,
        "crop_order": "correct",
        "keep_mean": False,
        "loss": "mean",
    }

    # the tokens that the decoder sees, and what it is
    token_layers: tuple[str, ...] = option(
        ("out",), Several(LAYER), "patch features of decoder and losses, each L2-normalised, concatenated"
    )
    center: bool = option(False, Flag(), "subtract the mean token of the data set")
    whiten: int | None = option(64, COMPONENTS, "PCA components kept and whitened; null for none")
    smooth: float = option(0.7, Number(0, 8, whole=False), "sigma in patches of the blur of the tokens")
    n_prototypes: int = option(5, Number(1, 255), "Q, most regions of an image")
    prototypes: str = option(
        "kmeans", Choice(("random", "kmeans")), "first values: N(0, 1), or over a sample of tokens"
    )
    n_layers: int = option(3, Number(1, 64), "decoder layers, each on the output of the one before")
    n_heads: int = option(4, Number(1, 1024), "attention heads, a divisor of the number of token dimensions")
    hidden: int | None = option(None, COMPONENTS, "width of the FFN; null for twice the token dimensions")

    # the crops that are compared in training
    crops: str = option(
        "tokens",
        Choice(("tokens", "pixels")),
        "cut out of the token grid of the whole image, or each through the backbone",
    )
    crop_size: int = option(224, Number(14, 4096), "side of pixel crops; a multiple of the patch size")
    crop_tokens: int = option(10, Number(2, 256), "patches on each side of a crop made of tokens")
    n_local: int = option(2, Number(1, 16), "local crops of an image")
    attention: float = option(
        1.0,
        Number(0.01, 1, whole=False),
        "share of the CLS attention that is foreground in training; 1: all patches, no attention needed",
    )

    # the loss and the training
    pressure: float = option(
        0.2, Number(-1, 1, whole=False), "correlation above which two patches attract each other"
    )
    temperature: float = option(0.1, TEMPERATURE, "of the assignments to prototypes in training")
    contrast_temperature: float = option(1.0, TEMPERATURE, "of the prototype alignment")
    alignment_weight: float = option(10.0, Number(0, 1e6, whole=False), "weight of the image alignment")
    steps: int = option(200, Number(1, ROWS), "training steps")
    batch_size: int = option(16, Number(1, ROWS), "images a step")
    learning_rate: float = option(
        2e-3, Number(0, 1e30, whole=False), "of AdamW, halved every three tenths of the steps"
    )
    weight_decay: float = option(0.04, Number(0, 1e6, whole=False), "of matrices other than the prototypes")
    patience: int | None = option(
        100,
        Number(1, ROWS, optional=True),
        "ends when the mean loss of so many steps is no lower than that of as many before; null: never",
    )
    checkpoint_every: int = option(50, Number(1, ROWS), "steps between checkpoints")
    max_images: int = option(
        512, Number(1, ROWS), "images whose tokens are kept in memory; of more, about this many are drawn"
    )
    sample_size: int = option(
        32_768, Number(1, ROWS), "patches that mean, whitening and kmeans prototypes are fitted on"
    )

    # from the decoder's prototypes to regions, and from regions to classes
    adapt_steps: int = option(
        10, Number(0, 1000), "soft k-means on the image's tokens that prototypes take after the decoder"
    )
    min_patches: int = option(6, Number(1, ROWS), "smaller regions are given to the regions next best")
    score_temperature: float = option(
        0.1, Number(1e-4, 1e6, whole=False), "softness of the scores that are up-sampled and refined"
    )
    class_layers: tuple[str, ...] = option(
        ("t-4", "t-3", "t-1"), Several(LAYER), "patch features that describe regions"
    )
    class_whiten: int | None = option(64, COMPONENTS, "PCA components of region descriptors; null for none")
    class_clustering: str = option("spectral", Choice(CLUSTERINGS), "of the regions of all images")
    n_init: int = option(10, Number(1, 10_000), "restarts of k-means over regions")
    output: str = option(
        "classes", Choice(("classes", "regions")), "1..K of the data set, or 1..Q of each image by itself"
    )

    n_classes: int = option(20, CLASSES, "K; fewer if there are fewer regions")
