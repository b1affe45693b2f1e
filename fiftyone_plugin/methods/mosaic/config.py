"""The options of Mosaic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ...common.checks import DIMENSIONS, ROWS, Flag, Number, Several, option
from ...errors import UsageError
from ..options import LAYER, MethodConfig

__all__ = ["STACK", "MosaicConfig"]

STACK = "stack"  # names the stacked layers among those to cut by
REGIONS = Number(1, 255)


class _Cut:
    """A rule: a pair of a layer and a number of regions."""

    def check(self, name: str, value: object) -> tuple[str, int]:
        """Return the pair, see :class:`~fiftyone_plugin.common.checks.Rule`."""
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise UsageError(f"{name} must be {self}, got {value!r:.200}")
        return LAYER.check(name, value[0]), int(REGIONS.check(name, value[1]))

    def __str__(self) -> str:
        return f"pairs of a layer, or {STACK} for all of layers, and a number of regions, 1..255"


@dataclass(frozen=True)
class MosaicConfig(MethodConfig):
    """Options of :class:`~.method.Mosaic`; the same stand in a saved model."""

    ignored: ClassVar[tuple[str, ...]] = ("max_images",)

    n_classes: int | Literal["auto"] = option(
        20,
        Number(1, 65_535, word="auto"),
        "K; auto reads it off the eigenvalues of the region graph, between 5 and 60",
    )
    layers: tuple[str, ...] = option(
        ("t-4", "t-3", "t-1"), Several(LAYER), "patch features, each L2-normalised and stacked"
    )
    tiles: int = option(
        1,
        Number(1, 4),
        "tiles along a side of an image, in which it is seen at a finer scale besides as a whole: 2 for "
        "small things, at 5 forward passes an image instead of 1; 1 for none",
    )
    center: float | Literal["auto"] = option(
        "auto",
        Number(0, 1, whole=False, word="auto"),
        "share of its mean token that is taken off an image before its regions are compared with others; "
        "auto: 1 where 50 images or more show one kind of scene, else 0",
    )
    cuts: tuple[tuple[str, int], ...] = option(
        (("out", 9), (STACK, 9)),
        Several(_Cut(), least=0),
        "how an image is cut into regions: by k-means, on patches whitened to 64 components",
    )
    cue: str = option("k-1", LAYER, "layer on which foreground is told from background, as LightCluster does")
    cue_regions: int = option(
        6, Number(0, 255), "regions of one more cut, by the patches of cue as they are; 0 for none"
    )
    whiten: int = option(96, Number(1, DIMENSIONS), "PCA components of the stacked features of the head")
    graph_whiten: tuple[int, ...] = option(
        (96, 48, 64, 128, 192, 256),
        Several(Number(1, DIMENSIONS)),
        "PCA components of region descriptors, a graph for each; edges that they share weigh more",
    )
    blur: float = option(
        0.7, Number(0, 100, whole=False), "sigma, in patches, of the Gaussian blur before an image is cut"
    )
    foreground: float | Literal["auto"] = option(
        "auto",
        Number(0, 1e6, whole=False, word="auto"),
        "weight of a region's foreground beside its unit vector; auto: 2 / K up to ten classes, else 0",
    )
    neighbours: int = option(
        30, Number(1, 65_535), "of every region in the graph, for each cut; fewer in small data sets"
    )
    sample_size: int = option(
        65_536, Number(1, ROWS), "patches that the whitening and the foreground cue are fitted on"
    )
    max_landmarks: int = option(
        12_000, Number(4, ROWS), "regions in the graph; the others follow their nearest neighbours in it"
    )
    head_patches: int = option(40_000, Number(1, ROWS), "patches that the head learns from")
    regularization: float = option(
        0.01, Number(1e-9, 1e9, whole=False), "C of the head's logistic regression; lower is smoother"
    )
    thin: bool = option(
        True,
        Flag(),
        "give the last class to thin dark lines, found at the pixel, where all patches of an image are alike",
    )
    spread: bool = option(True, Flag(), "share the head's probabilities among similar patches of an image")

    def check(self) -> None:
        """Refuse options that leave no regions, see :class:`~fiftyone_plugin.common.checks.Options`."""
        if not self.cuts and not self.cue_regions:
            raise UsageError("cuts is empty and cue_regions is 0: there would be no regions")
