"""DatUS²: segments from communities in the graph of an image's patches, clustered over the data set.

After Kumar, Sur, Baruah, "DatUS²: Data-driven Unsupervised Semantic Segmentation with Pre-trained
Self-supervised Vision Transformer" (IEEE TCDS 2024, arXiv 2401.12820), section III, and the behaviour of the
authors' public code, of which nothing is copied. ``preset="published"`` follows it; ``preset="default"``
mends what was found to cost quality, each by a knob of its own, see docs/datus.md.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any

import numpy as np

from ...clustering.normalize import l2_normalize
from ...clustering.region_classes import RegionClasses
from ...common.checks import Number, check_numbers
from ...common.parallel import batched, parallel_map
from ...common.progress import NullProgress, Progress
from ...errors import ImageReadError, PseudoMaskError
from ...features.sampling import image_rng
from ...features.types import FeatureSource, ImageFeatures
from ...images.drawing import Panel
from ...masks.scores import LabelScores
from ..saved import SavedArrays
from .config import PRESETS, SEGMENT_FIELDS, SEGMENT_KNOBS, resolve_options
from .descriptors import crop_descriptors, native_segments, pooled_descriptors
from .segments import Segments, SegmentSettings, find_segments

__all__ = ["PRESETS", "DatUS"]

logger = logging.getLogger(__name__)

CHUNK = 32  # images handed to the workers at once
MAX_SEGMENTS_FOR_FIT = 100_000
TYPICAL_SEGMENTS = 16  # in an image, to plan how many images the classes are learnt from


class DatUS:
    """DatUS² over frozen ViT features; see :class:`~.base.Method` for the contract.

    Args:
        n_classes: K, number of classes. Every pixel gets one; with ``noise="void"`` some stay 0.
        preset: ``default`` or ``published``: what the knobs below are where they are not given, see
            :data:`PRESETS`.
        refine: ``crf`` or ``none``; does nothing with ``upsample="ids"``.
        random_state: seed.
        n_jobs: worker processes for the segments; 0 for all cores.
        knobs: any of

            * ``layer``: patch features of the graph (published: keys of the last block).
            * ``center``: subtract the image's mean from them.
            * ``weighted``: edges weigh the cosine, else all weigh the same.
            * ``neighbours``: strongest edges kept at each patch, ``None``: every positive one.
            * ``algorithm``: ``louvain`` or ``leiden``.
            * ``resolution``: of the community detection; higher gives more segments.
            * ``min_patches``: a segment needs more patches than this.
            * ``max_segments``: segments kept in one image, the largest.
            * ``noise``: what becomes of the other patches: ``void``; or ``neighbour``: they join the adjacent
              segment of highest mean affinity.
            * ``descriptor``: ``cls``: CLS token of a crop of the segment, one more forward pass each; or
              ``pooled``: mean of the image's own tokens over the segment.
            * ``descriptor_layers``: list of token layers that are pooled.
            * ``crop``: outside the segment ``black``, ``mean`` colour, or ``box`` as it is.
            * ``crop_fit``: ``center`` (ends of long segments are cut off) or ``pad`` (to a square).
            * ``crop_size``: side of a crop, pixels, a multiple of 112.
            * ``whiten``: PCA components of the descriptors, whitened; ``None``: none. (The published PCA
              keeps all components unscaled: a rotation, which no distance sees, so it is left out.)
            * ``clustering``: ``kmeans`` or ``spectral``, see
              :class:`~fiftyone_plugin.clustering.region_classes.RegionClasses`.
            * ``n_init``: restarts.
            * ``batch_size``: mini-batches of k-means, ``None``: Lloyd's algorithm.
            * ``upsample``: ``ids``: every pixel takes the label of its patch; or ``soft``: scores are
              up-sampled bilinearly and refined.

    Attributes:
        n_classes_: classes found, at most ``n_classes``.
        n_segments_: segments of the training images.
        n_fallbacks_: training images whose graph was degenerate and was replaced.
    """

    name = "datus"
    has_background = False

    def __init__(
        self,
        n_classes: int = 20,
        *,
        preset: str = "default",
        refine: str = "crf",
        random_state: int = 0,
        n_jobs: int = 0,
        **knobs: Any,
    ) -> None:
        self.n_jobs = n_jobs
        shared = {"n_classes": n_classes, "refine": refine, "random_state": random_state}
        self._config: dict[str, Any] = resolve_options(preset, knobs, shared)
        self.n_classes: int = self._config["n_classes"]
        self._settings = SegmentSettings(**{name: self._config[name] for name in SEGMENT_FIELDS})

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers to extract."""
        config = self._config
        pooled = config["descriptor_layers"] if config["descriptor"] == "pooled" else ["cls"]
        return tuple(dict.fromkeys([config["layer"], *pooled]))

    # ------------------------------------------------------------------ fitting

    def fit(self, features: FeatureSource, *, progress: Progress | None = None) -> DatUS:
        """Cut all images into segments, then cluster the segments into classes.

        Raises:
            PseudoMaskError: the source yields no image.
        """
        progress = progress or NullProgress()
        vectors: list[np.ndarray] = []
        areas: list[np.ndarray] = []
        images = self.n_segments_ = self.n_fallbacks_ = 0
        keep = min(1.0, MAX_SEGMENTS_FOR_FIT / (TYPICAL_SEGMENTS * max(1, len(features))))
        with progress.stage("segments", total=len(features)) as stage:
            for chunk in batched(features, CHUNK):
                for image, found in zip(chunk, self._segments_of(chunk), strict=True):
                    stage.update()
                    if isinstance(found, ImageReadError):
                        continue  # labelling will meet it again and list it
                    images += 1
                    self.n_segments_ += len(found["descriptors"])
                    self.n_fallbacks_ += bool(found["fallback"])
                    if image_rng(self._config["random_state"] + 1, image.digest).random() <= keep:
                        vectors.append(np.asarray(found["descriptors"], np.float32))
                        areas.append(_areas(found["segments"]))
        if images == 0:
            raise PseudoMaskError("no image could be read, so there is nothing to learn from")
        self._warn(images)
        with progress.stage("classes", total=1, unit="fit") as stage:
            self._fit_classes([v for v in vectors if len(v)], np.concatenate([*areas, np.zeros(0)]))
            stage.update()
        return self

    def _warn(self, images: int) -> None:
        """Say once how many graphs were degenerate."""
        if self.n_fallbacks_:
            hint = "" if self._config["center"] else "; the option center=true usually mends that"
            logger.warning(
                "the patch graph of %d of %d images was degenerate (nearly all patches joined, or no regions "
                "found) and was replaced by one of centred features, or of neighbours in the image%s",
                self.n_fallbacks_,
                images,
                hint,
            )

    def _fit_classes(self, vectors: list[np.ndarray], areas: np.ndarray) -> None:
        config = self._config
        names = ("n_classes", "whiten", "clustering", "n_init", "batch_size", "random_state")
        self._classes = RegionClasses(**{name: config[name] for name in names})
        self._classes.fit(np.concatenate(vectors) if vectors else np.zeros((0, 1), np.float32), area=areas)
        if self.n_classes_ < self.n_classes:
            logger.warning(
                "%d classes asked for, but only %d distinct segments were found: using %d classes",
                self.n_classes,
                self.n_classes_,
                self.n_classes_,
            )

    @property
    def n_classes_(self) -> int:
        """Number of classes found by :meth:`fit`."""
        return self._classes.n_classes_

    # ------------------------------------------------------------------ one image

    def _segments_of(self, images: list[ImageFeatures]) -> list[dict[str, np.ndarray] | ImageReadError]:
        """Return for each image its segments, their descriptors and whether the graph was replaced.

        Communities are found in worker processes, crops go through the backbone here; all is remembered under
        a name that does not depend on the fit, so that neither labelling nor another seed costs it again. An
        image that cannot be read any more gives its error instead.
        """
        name = f"segments-{self._fingerprint()}"
        results: list[dict[str, np.ndarray] | ImageReadError | None] = []
        new, tasks = [], []
        for image in images:
            found = image.memo.get(name)
            results.append(found)
            if found is None:
                try:
                    features = image[self._config["layer"]]  # lazy: this may read the image
                except ImageReadError as error:
                    results[-1] = error
                    continue
                new.append(len(results) - 1)
                tasks.append((features, image.grid, self._settings))
        for index, cut in zip(new, parallel_map(_cut, tasks, self.n_jobs), strict=True):
            results[index] = self._describe(images[index], *cut, name)
        return [result for result in results if result is not None]

    def _describe(
        self, image: ImageFeatures, segments: np.ndarray, fallback: str, name: str
    ) -> dict[str, np.ndarray] | ImageReadError:
        config = self._config
        try:
            if config["descriptor"] == "pooled":
                vectors = pooled_descriptors(image, tuple(config["descriptor_layers"]), segments)
            else:
                options = {"fill": config["crop"], "fit": config["crop_fit"], "size": config["crop_size"]}
                vectors = crop_descriptors(image, segments, **options)
        except ImageReadError as error:
            return error
        found = {
            "segments": segments.astype(np.int32),
            "descriptors": vectors.astype(np.float32),
            "fallback": np.uint8(bool(fallback)),
        }
        image.memo.put(name, found)
        return found

    def _fingerprint(self) -> str:
        """Hash of all that the segments and their descriptors depend on, besides the image."""
        kept = {k: v for k, v in self._config.items() if k in SEGMENT_KNOBS}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]

    def prefetch(self, images: list[ImageFeatures]) -> None:
        """Cut several images at once, with worker processes, for :meth:`predict` to use."""
        self._segments_of(images)

    def predict(self, features: ImageFeatures) -> LabelScores:
        """Label one image.

        Returns:
            Scores of the classes of its segments: at patch resolution, to be refined; or with
            ``upsample="ids"`` final ones at native resolution.

        Raises:
            ImageReadError: the image cannot be read any more.
        """
        found = self._found(features)
        of_patch = self._patch_labels(found)
        if self._config["upsample"] == "ids":
            native = native_segments(of_patch, features.grid, features.size)
            return LabelScores(*_one_hot(native), refined=True)
        return LabelScores(*_one_hot(of_patch.reshape(features.grid)))

    def _found(self, image: ImageFeatures) -> dict[str, np.ndarray]:
        found = self._segments_of([image])[0]
        if isinstance(found, ImageReadError):
            raise found
        return found

    def _patch_labels(self, found: dict[str, np.ndarray]) -> np.ndarray:
        """Return the (h*w,) class ids of the patches; void is 0."""
        classes = np.concatenate([self._classes.predict(found["descriptors"]), [0]])
        return classes[found["segments"]]  # void is -1, the last

    def explain(self, image: ImageFeatures) -> list[Panel]:
        """Show the affinity of one patch, the communities, the segments, and the classes of the patches."""
        cut = find_segments(image[self._config["layer"]], image.grid, self._settings)
        unit = l2_normalize(cut.vectors)
        mark = (image.grid[0] // 2, image.grid[1] // 2)
        affinity = (unit @ unit[mark[0] * image.grid[1] + mark[1]]).reshape(image.grid)
        communities, segments = (x.reshape(image.grid) + 1 for x in (cut.communities, cut.labels))
        classes = self._patch_labels(self._found(image)).reshape(image.grid)
        return [
            Panel("affinity of the marked patch", affinity, "heat", mark),
            Panel(f"communities: {communities.max()}", communities, "labels"),
            Panel(f"segments: {segments.max()}", segments, "labels"),
            Panel(f"classes of segments: {len(np.unique(classes[classes > 0]))}", classes, "labels"),
        ]

    # ------------------------------------------------------------------ saving

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments (``n_jobs`` left out: it does not change results)."""
        return dict(self._config)

    def get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return learnt values and arrays, see :class:`~.base.Method`."""
        values = {
            "n_classes": self.n_classes_,
            "n_segments": self.n_segments_,
            "n_fallbacks": self.n_fallbacks_,
        }
        return values, {f"classes.{k}": v for k, v in self._classes.get_arrays().items()}

    def set_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Restore what :meth:`get_state` returned.

        Raises:
            KeyError: something is missing.
            UsageError: something does not fit.
        """
        counts = {name: values[name] for name in ("n_segments", "n_fallbacks")}
        check_numbers(counts, dict.fromkeys(counts, Number(0, 2**53)))
        self.n_segments_, self.n_fallbacks_ = counts["n_segments"], counts["n_fallbacks"]
        self._classes = SavedArrays(arrays, "classes.").region_classes()


def _cut(features: np.ndarray, grid: tuple[int, int], settings: SegmentSettings) -> tuple[np.ndarray, str]:
    """Return segments and fallback; runs in a worker process, so without the vectors."""
    found: Segments = find_segments(features, grid, settings)
    return found.labels, found.fallback


def _areas(segments: np.ndarray) -> np.ndarray:
    """Return the share of the image of every segment."""
    return np.bincount(segments[segments >= 0]) / segments.size


def _one_hot(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids that occur in an (h, w) map, and their (L, h, w) float32 indicators."""
    ids = np.unique(labels)
    return ids, (labels[None] == ids[:, None, None]).astype(np.float32)
