"""LightCluster: masks without training, from clusters at three levels that must agree.

After Cheung, Chen, Yang, Zhao, "LightCluster" (arXiv 2311.18628). The abstract names the stages: attention
features, masks by clustering within the data set, within a category and within an image, consistency between
the three, up-sampling and refinement, classes from the CLS tokens of object regions. Everything else (layers,
numbers of clusters, rules) is a choice made here and a parameter of :class:`LightCluster`.
"""

from __future__ import annotations

import hashlib
import json
import logging

import numpy as np

from ...clustering.kmeans import ReproducibleKMeans
from ...clustering.normalize import VectorNormalizer
from ...clustering.region_classes import RegionClasses
from ...common.progress import Progress
from ...errors import ImageReadError
from ...features.sampling import image_rng
from ...features.types import FeatureSource, ImageFeatures
from ...images.boxes import expand_box
from ...images.drawing import Panel
from ...masks.regions import connected_regions, region_boxes
from ...masks.scores import LabelScores
from ...masks.upsample import resize_scores
from ..base import SegmentationMethod, State, sample_features
from ..limits import tell_part
from ..remembered import Found, found_in_all, found_in_one, remember, warn_fewer_classes
from ..saved import SavedArrays
from .config import LightClusterConfig
from .levels import Levels, foreground_map

__all__ = ["LightCluster"]

logger = logging.getLogger(__name__)

MAX_REGIONS_FOR_FIT = 100_000


class LightCluster(SegmentationMethod[LightClusterConfig]):
    """Training-free foreground masks and region classes.

    Attributes:
        n_classes_: classes found, at most ``n_classes``.
    """

    name = "lightcluster"
    has_background = True
    refines = True
    config_class = LightClusterConfig

    levels_: Levels
    classes_: RegionClasses

    @property
    def inputs(self) -> tuple[str, ...]:
        """Layers to extract."""
        cue = ("attn",) if self.config.foreground_rule != "border" else ()
        return (self.config.layer, "cls", *cue)

    # ------------------------------------------------------------------ fitting

    def _fit(self, features: FeatureSource, progress: Progress) -> None:
        """Fit the three levels on a sample of patches, then cluster the regions of all images."""
        config = self.config
        budget, seed = config.sample_size, config.random_state
        sample = sample_features(features, lambda x: x[config.layer], progress, budget=budget, seed=seed)
        with progress.stage("levels", total=2, unit="fit") as stage:
            self.levels_ = Levels.fit(sample, len(features), config, self.n_jobs, stage.update)
        region_cls, region_area = self._collect_regions(features, progress)
        with progress.stage("classes", total=1, unit="fit") as stage:
            self._fit_classes(region_cls, region_area)
            stage.update()

    def vote(self, image: ImageFeatures) -> np.ndarray:
        """Return (2, h, w) float32 scores of background and foreground, by patch and before refinement."""
        return self.levels_.vote(image[self.config.layer], image["cls"], image.grid, image.digest)

    def _collect_regions(self, features: FeatureSource, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
        """Return CLS features (n, D) and areas (n,) of a bounded sample of the regions of all images."""
        cls: list[np.ndarray] = []
        area: list[np.ndarray] = []
        keep = min(1.0, MAX_REGIONS_FOR_FIT / (2.0 * max(1, len(features))))
        tell_part(keep, len(features), "classes are learnt from the regions")
        for image, found in found_in_all(features, self._regions_of, progress, "foreground, regions"):
            if image_rng(self.config.random_state + 1, image.digest).random() <= keep:
                cls.append(np.asarray(found["cls"], np.float32))
                area.append(found["area"])
        rows = [c for c in cls if len(c)]
        if not rows:
            return np.zeros((0, 1), np.float32), np.zeros(0)
        return np.concatenate(rows), np.concatenate(area)

    def _fit_classes(self, cls: np.ndarray, area: np.ndarray) -> None:
        """Cluster region CLS features, standardised and L2-normalised (MaskDistill's recipe), by k-means.

        Classes are numbered by falling total area, so that ids are stable under relabelling of the clusters.
        """
        if len(cls) == 0:
            logger.warning("no foreground was found in any image: all masks are background")
            self.classes_ = RegionClasses().fit(cls)
            return
        normalizer = VectorNormalizer(standardize=len(cls) > 1).fit(cls)
        vectors = normalizer.transform(cls)
        kmeans = ReproducibleKMeans(self.config.n_classes, n_init=10, random_state=self.config.random_state)
        labels = kmeans.fit(vectors).labels_
        weight = np.bincount(labels, weights=area, minlength=len(kmeans.cluster_centers_))
        self.classes_ = RegionClasses.of(
            normalizer, kmeans.cluster_centers_[np.argsort(-weight, kind="stable")]
        )
        warn_fewer_classes(self.config.n_classes, self.n_classes_, "regions")

    @property
    def n_classes_(self) -> int:
        """Number of classes found by :meth:`fit`."""
        return self.classes_.n_classes_

    # ------------------------------------------------------------------ one image

    def _regions_of(self, images: list[ImageFeatures]) -> list[Found | ImageReadError]:
        """Return for each image its foreground map and its regions' CLS features and areas.

        The per-image clustering and the refinement run in worker processes, the crops through the backbone
        here; labelling the training images costs neither again.
        """
        levels, layer = self.levels_, self.config.layer
        return remember(
            images,
            f"regions-{self._fingerprint()}",
            prepare=lambda x: (levels, x[layer], x["cls"], x.grid, x.digest, x.size, x.read_image),
            work=foreground_map,
            describe=self._describe,
            n_jobs=self.n_jobs,
        )

    def _describe(self, image: ImageFeatures, foreground: np.ndarray) -> Found:
        """Find and encode the regions of one image."""
        _, regions = self._at_native_size(image, foreground)
        boxes = [expand_box(box, image.size, self.config.context) for box in region_boxes(regions)]
        cls = image.crop_cls(boxes) if boxes else np.zeros((0, len(image["cls"])), np.float32)
        area = np.bincount(regions.ravel(), minlength=len(boxes) + 1)[1:] / regions.size
        return {"foreground": foreground, "cls": cls.astype(np.float32), "area": area.astype(np.float64)}

    def _at_native_size(self, image: ImageFeatures, foreground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the probability of foreground, from the stored uint8 map, and the numbered regions."""
        probability = resize_scores(foreground[None] / np.float32(255), *image.size)[0]
        regions = connected_regions(probability > 0.5, self.config.min_region, self.config.max_regions)
        return probability, regions

    def prefetch(self, images: list[ImageFeatures]) -> None:
        """Find the regions of several images at once, with worker processes, for :meth:`predict` to use."""
        self._regions_of(images)

    def _predict(self, image: ImageFeatures) -> LabelScores:
        """Label one image at native resolution: background and the classes of its regions, refined."""
        found = found_in_one(self._regions_of([image]))
        probability, regions = self._at_native_size(image, found["foreground"])
        class_of_region = np.concatenate([[0], self.classes_.predict(found["cls"])])
        labels = np.unique(class_of_region).astype(np.int64)
        hard = class_of_region[regions]
        # outside the regions the foreground's probability (below 1/2) is shared by the classes of the image
        share = np.array([(hard == label).mean() for label in labels[1:]], np.float32)
        share /= max(float(share.sum()), 1e-12)
        scores = np.empty((len(labels), *image.size), np.float32)
        inside = hard > 0
        scores[0] = np.where(inside, 1 - probability, 1 - np.minimum(probability, 0.5))
        for row, label in enumerate(labels[1:], start=1):
            outside = np.minimum(probability, 0.5) * share[row - 1]
            scores[row] = np.where(inside, probability * (hard == label), outside)
        if len(labels) == 1:
            scores[0] = 1.0
        return LabelScores(labels, scores, refined=True)

    def _explain(self, image: ImageFeatures) -> list[Panel]:
        """Show the three levels, their vote, the refined foreground and the regions with their classes."""
        x = self.levels_.normalizer.transform(image[self.config.layer])
        names = ("data-set level", "category level", "image level")
        panels = [
            Panel(name, vote.reshape(image.grid), "heat")
            for name, vote in zip(names, self.levels_.level_votes(x, image["cls"], image.digest), strict=True)
        ]
        panels.append(Panel("vote of the three", self.vote(image)[1], "heat"))
        foreground = found_in_one(self._regions_of([image]))["foreground"]
        _, regions = self._at_native_size(image, foreground)
        panels.append(Panel(f"refined ({self.config.refine})", foreground, "heat"))
        panels.append(Panel(f"regions: {regions.max()}", regions, "labels"))
        return panels

    # ------------------------------------------------------------------ saving

    def _get_state(self) -> State:
        n_groups, levels = self.levels_.get_state()
        arrays = {f"levels.{k}": v for k, v in levels.items()}
        arrays |= {f"classes.{k}": v for k, v in self.classes_.get_arrays().items()}
        return {"n_groups": n_groups, "n_classes": self.n_classes_}, arrays

    def _set_state(self, values: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
        self.levels_ = Levels.from_state(values["n_groups"], SavedArrays(arrays, "levels."), self.config)
        self.classes_ = SavedArrays(arrays, "classes.").region_classes()

    def _fingerprint(self) -> str:
        """Hash of all that the foreground and the regions of an image depend on."""
        digest = hashlib.sha256(json.dumps(self.get_config(), sort_keys=True).encode())
        for name, array in sorted(self.levels_.get_state()[1].items()):
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]
