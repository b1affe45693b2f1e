"""DatUS²: segments from communities in the graph of an image's patches, clustered over the data set.

After Kumar, Sur, Baruah, "DatUS²: Data-driven Unsupervised Semantic Segmentation with Pre-trained
Self-supervised Vision Transformer" (IEEE TCDS 2024, arXiv 2401.12820), section III, and the behaviour of the
authors' public code, of which nothing is copied. What was found to cost quality is mended, see docs/datus.md;
benchmarks/published.py follows the publication.
"""

from __future__ import annotations

import hashlib
import json
import logging

import numpy as np

from ...clustering.normalize import l2_normalize
from ...clustering.region_classes import RegionClasses, pool_regions, stack_layers
from ...common.checks import Number
from ...common.progress import Progress
from ...errors import ImageReadError, PseudoMaskError
from ...features.sampling import image_rng
from ...features.types import FeatureSource, ImageFeatures
from ...images.boxes import PAD_COLOUR, crop_square
from ...images.drawing import Panel
from ...masks.scores import LabelScores
from ..base import SegmentationMethod, State, hard_scores
from ..limits import tell_clustering, tell_part
from ..remembered import Found, found_in_all, found_in_one, remember, warn_fewer_classes
from ..saved import SavedArrays
from .config import DatUSConfig, SegmentSettings
from .segments import find_segments

__all__ = ["DatUS", "cut_box", "native_segments", "segment_crop"]

logger = logging.getLogger(__name__)

MAX_SEGMENTS_FOR_FIT = 100_000
TYPICAL_SEGMENTS = 16  # in an image, to plan how many images the classes are learnt from
# all that the segments and their descriptors depend on, besides the image
SEGMENT_KNOBS = {
    *SegmentSettings.names(),
    *("layer", "descriptor", "descriptor_layers", "crop", "crop_fit", "crop_size"),
}


class DatUS(SegmentationMethod[DatUSConfig]):
    """DatUS² over frozen ViT features.

    Attributes:
        n_classes_: classes found, at most ``n_classes``.
        n_segments_: segments of the training images.
        n_fallbacks_: training images whose graph was degenerate and was replaced.
    """

    name = "datus"
    config_class = DatUSConfig

    classes_: RegionClasses
    n_segments_: int
    n_fallbacks_: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """Layers to extract."""
        config = self.config
        pooled = config.descriptor_layers if config.descriptor == "pooled" else ["cls"]
        return tuple(dict.fromkeys([config.layer, *pooled]))

    # ------------------------------------------------------------------ fitting

    def _fit(self, features: FeatureSource, progress: Progress) -> None:
        """Cut all images into segments, then cluster the segments into classes."""
        vectors: list[np.ndarray] = []
        areas: list[np.ndarray] = []
        images = segments = fallbacks = 0
        keep = min(1.0, MAX_SEGMENTS_FOR_FIT / (TYPICAL_SEGMENTS * max(1, len(features))))
        tell_part(keep, len(features), "classes are learnt from the segments")
        for image, found in found_in_all(features, self._segments_of, progress, "segments"):
            images += 1
            segments += len(found["descriptors"])
            fallbacks += bool(found["fallback"])
            if image_rng(self.config.random_state + 1, image.digest).random() <= keep:
                vectors.append(np.asarray(found["descriptors"], np.float32))
                inside = found["segments"][found["segments"] >= 0]
                areas.append(np.bincount(inside) / found["segments"].size)
        if images == 0:
            raise PseudoMaskError("no image could be read, so there is nothing to learn from")
        self.n_segments_, self.n_fallbacks_ = segments, fallbacks
        if fallbacks:
            hint = "" if self.config.center else "; the option center=true usually mends that"
            logger.warning(
                "the patch graph of %d of %d images was degenerate (nearly all patches joined, or no regions "
                "found) and was replaced by one of centred features, or of neighbours in the image%s",
                fallbacks,
                images,
                hint,
            )
        with progress.stage("classes", total=1, unit="fit") as stage:
            vectors = [v for v in vectors if len(v)] or [np.zeros((0, 1), np.float32)]
            self.classes_ = self._region_classes()
            tell_clustering(self.config.clustering, sum(map(len, vectors)), "segments")
            self.classes_.fit(np.concatenate(vectors), area=np.concatenate([*areas, np.zeros(0)]))
            warn_fewer_classes(self.config.n_classes, self.n_classes_, "segments")
            stage.update()

    def _region_classes(self) -> RegionClasses:
        names = ("n_classes", "whiten", "clustering", "n_init", "random_state")
        return RegionClasses(**{name: getattr(self.config, name) for name in names})

    @property
    def n_classes_(self) -> int:
        """Number of classes found by :meth:`fit`."""
        return self.classes_.n_classes_

    # ------------------------------------------------------------------ one image

    def _segments_of(self, images: list[ImageFeatures]) -> list[Found | ImageReadError]:
        """Return for each image its segments, their descriptors and whether the graph was replaced.

        Communities are found in worker processes, crops go through the backbone here; the name under which
        all is remembered does not depend on the fit, so that neither labelling nor another seed costs it
        again.
        """
        config = self.config
        return remember(
            images,
            f"segments-{self._fingerprint()}",
            prepare=lambda image: (image[config.layer], image.grid, config),
            work=_cut,
            describe=self._describe,
            n_jobs=self.n_jobs,
        )

    def _describe(self, image: ImageFeatures, cut: tuple[np.ndarray, str]) -> Found:
        segments, fallback = cut
        if self.config.descriptor == "pooled":
            layers = [image[layer] for layer in self.config.descriptor_layers]
            vectors = pool_regions(stack_layers(layers), segments)[1]
        elif (n := int(segments.max(initial=-1)) + 1) == 0:
            vectors = np.zeros((0, len(image["cls"])), np.float32)
        else:
            crops = np.stack(self._crops(image, segments, n))
            vectors = l2_normalize(image.encode(crops, ["cls"])["cls"])
        return {
            "segments": segments.astype(np.int32),
            "descriptors": vectors.astype(np.float32),
            "fallback": np.uint8(bool(fallback)),
        }

    def _crops(self, image: ImageFeatures, segments: np.ndarray, n: int) -> list[np.ndarray]:
        """Return the (S, S, 3) uint8 crops of segments 0..n-1."""
        pixels = image.read_image()
        native = native_segments(segments, image.grid, pixels.shape[:2])
        return [segment_crop(pixels, native == i, self.config.crop_size) for i in range(n)]

    def _fingerprint(self) -> str:
        """Hash of all that the segments and their descriptors depend on, besides the image."""
        kept = {k: v for k, v in self.get_config().items() if k in SEGMENT_KNOBS}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]

    def prefetch(self, images: list[ImageFeatures]) -> None:
        """Cut several images at once, with worker processes, for :meth:`predict` to use."""
        self._segments_of(images)

    def _predict(self, image: ImageFeatures) -> LabelScores:
        """Label one image at patch resolution, to be refined."""
        return self._scores(image, self._patch_labels(found_in_one(self._segments_of([image]))))

    def _scores(self, image: ImageFeatures, of_patch: np.ndarray) -> LabelScores:
        """Return the indicators of (h*w,) class ids of the patches."""
        return hard_scores(of_patch.reshape(image.grid))

    def _patch_labels(self, found: Found) -> np.ndarray:
        """Return the (h*w,) class ids of the patches; void is 0."""
        classes = np.concatenate([self.classes_.predict(found["descriptors"]), [0]])
        return np.asarray(classes[found["segments"]])  # void is -1, the last

    def _explain(self, image: ImageFeatures) -> list[Panel]:
        """Show the affinity of one patch, the communities, the segments, and the classes of the patches."""
        cut = find_segments(image[self.config.layer], image.grid, self.config)
        unit = l2_normalize(cut.vectors)
        mark = (image.grid[0] // 2, image.grid[1] // 2)
        affinity = (unit @ unit[mark[0] * image.grid[1] + mark[1]]).reshape(image.grid)
        communities, segments = (x.reshape(image.grid) + 1 for x in (cut.communities, cut.labels))
        classes = self._patch_labels(found_in_one(self._segments_of([image]))).reshape(image.grid)
        return [
            Panel("affinity of the marked patch", affinity, "heat", mark),
            Panel(f"communities: {communities.max()}", communities, "labels"),
            Panel(f"segments: {segments.max()}", segments, "labels"),
            Panel(f"classes of segments: {len(np.unique(classes[classes > 0]))}", classes, "labels"),
        ]

    # ------------------------------------------------------------------ saving

    def _get_state(self) -> State:
        return {
            "n_classes": self.n_classes_,
            "n_segments": self.n_segments_,
            "n_fallbacks": self.n_fallbacks_,
        }, {f"classes.{k}": v for k, v in self.classes_.get_arrays().items()}

    def _set_state(self, values: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
        count = Number(0, 2**53)
        self.n_segments_ = count.check("n_segments", values["n_segments"])
        self.n_fallbacks_ = count.check("n_fallbacks", values["n_fallbacks"])
        self.classes_ = SavedArrays(arrays, "classes.").region_classes()


def _cut(features: np.ndarray, grid: tuple[int, int], settings: SegmentSettings) -> tuple[np.ndarray, str]:
    """Return segments and fallback; runs in a worker process, so without the vectors."""
    found = find_segments(features, grid, settings)
    return found.labels, found.fallback


def native_segments(segments: np.ndarray, grid: tuple[int, int], size: tuple[int, ...]) -> np.ndarray:
    """Return the (H, W) map of (h*w,) patch labels at ``size`` (H, W): each pixel that of its patch."""
    rows, columns = (((np.arange(n) + 0.5) * g / n).astype(int) for n, g in zip(size, grid, strict=True))
    return np.asarray(segments.reshape(grid)[np.ix_(rows, columns)])


def cut_box(pixels: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Cut the box of a segment out of (H, W, 3) uint8 pixels; outside its (H, W) mask they get a colour."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.ix_(range(rows[0], rows[-1] + 1), range(columns[0], columns[-1] + 1))
    return np.where(mask[box][..., None], pixels[box], np.array(colour, np.uint8))


def segment_crop(pixels: np.ndarray, mask: np.ndarray, size: int) -> np.ndarray:
    """Cut the box of one segment, its longer side ``size`` pixels; all else has the mean colour of ImageNet.

    Args:
        pixels: (H, W, 3) uint8.
        mask: (H, W) bool, not empty.
        size: side in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    cut = cut_box(pixels, mask, PAD_COLOUR)
    return crop_square(cut, (0, 0, *cut.shape[:2]), size)
