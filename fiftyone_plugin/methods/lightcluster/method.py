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
from typing import Any

import numpy as np

from ...clustering.kmeans import ReproducibleKMeans, squared_distances
from ...clustering.normalize import VectorNormalizer, normalizer_arrays
from ...common.checks import DIMENSIONS, ROWS, Number, check_flag, check_numbers
from ...common.parallel import batched, parallel_map
from ...common.progress import NullProgress, Progress
from ...errors import ImageReadError, PseudoMaskError, UsageError
from ...features.sampling import image_rng, sample_patches
from ...features.types import FeatureSource, ImageFeatures
from ...images.boxes import expand_box
from ...images.drawing import Panel
from ...masks.refine import create_refiner, resize_scores
from ...masks.regions import connected_regions, region_boxes
from ...masks.scores import LabelScores
from ..saved import SavedArrays
from .rules import FOREGROUND_RULES
from .votes import Levels, foreground_map

__all__ = ["LightCluster"]

logger = logging.getLogger(__name__)

CHUNK = 32  # images handed to the workers at once: enough to keep them busy, few enough for memory
MAX_REGIONS_FOR_FIT = 100_000


NUMBERS = {
    "n_classes": Number(1, 65_535),
    "whiten": Number(1, DIMENSIONS, optional=True),
    "n_dataset_clusters": Number(2, 65_535),
    "n_categories": Number(1, 65_535, optional=True),
    "n_category_clusters": Number(1, 65_535),
    "n_image_clusters": Number(1, 65_535),
    "border_ratio": Number(0, 1e6, whole=False),
    "temperature": Number(1e-6, 1e6, whole=False),
    "max_foreground": Number(0, 1, whole=False),
    "sample_size": Number(1, ROWS),
    "batch_size": Number(1, ROWS, optional=True),
    "n_init": Number(1, 10_000),
    "min_region": Number(0, 1, whole=False),
    "max_regions": Number(1, 65_535),
    "context": Number(0, 1e6, whole=False),
    "random_state": Number(0, 2**32 - 2),  # scikit-learn's limit, less one for a second seed
}


class LightCluster:
    """Training-free foreground masks and region classes.

    Args:
        n_classes: K, number of classes to cluster the regions into; fewer if there are fewer regions.
        layer: patch features of all three levels; ``k-1`` are the keys of the last block. Tokens (``out``)
            also work, see docs/lightcluster.md for what each gives.
        center: subtract the mean direction of the patches.
        whiten: PCA components kept and whitened, ``None`` for none. Whitening blurs foreground and
            background.
        n_dataset_clusters: clusters of the data-set level; 2 is degenerate on some features.
        n_categories: image groups of the category level; ``None`` for sqrt(images) / 2, between 1 and 32. The
            level is repeated with half as many groups and with one, and the votes are averaged: how images
            fall into groups is the least stable part of the method, see docs/lightcluster.md.
        n_category_clusters: patch clusters inside each group.
        n_image_clusters: patch clusters inside one image.
        foreground_rule: ``border``, ``attention`` or ``both``, see
            :func:`~fiftyone_plugin.methods.lightcluster.rules.foreground_clusters`.
        border_ratio: threshold of the border rule.
        temperature: softness of each level's vote, in squared distance of unit vectors.
        max_foreground: if the vote leaves nothing, or more than this share of patches, the data-set level
            alone decides.
        sample_size: patches that the data-set and category levels are fitted on.
        batch_size: mini-batch size of these fits; ``None`` for Lloyd's algorithm, which on a sample of this
            size costs a few seconds and, unlike mini-batches, finds the same clusters from nearly every seed.
        n_init: restarts of every k-means over the data set.
        refine: ``crf`` or ``none``.
        min_region: smallest region, as a share of the image; smaller ones are background, unless all are
            small.
        max_regions: regions kept in one image.
        context: context around a region's box, as a share of its size on every side.
        random_state: seed.
        n_jobs: worker processes for the image level and the refinement; 0 for all cores.

    Attributes:
        n_classes_: classes found, at most ``n_classes``.
    """

    name = "lightcluster"
    has_background = True

    def __init__(
        self,
        n_classes: int = 20,
        *,
        layer: str = "k-1",
        center: bool = False,
        whiten: int | None = None,
        n_dataset_clusters: int = 3,
        n_categories: int | None = None,
        n_category_clusters: int = 3,
        n_image_clusters: int = 5,
        foreground_rule: str = "border",
        border_ratio: float = 0.8,
        temperature: float = 0.1,
        max_foreground: float = 0.95,
        sample_size: int = 16_384,
        batch_size: int | None = None,
        n_init: int = 2,
        refine: str = "crf",
        min_region: float = 0.01,
        max_regions: int = 8,
        context: float = 0.1,
        random_state: int = 0,
        n_jobs: int = 0,
    ) -> None:
        arguments = {k: v for k, v in locals().items() if k not in ("self", "n_jobs")}
        self._config = arguments
        self.n_jobs = n_jobs
        self.layer = layer
        self._validate()

    def _validate(self) -> None:
        config = self._config
        check_numbers(config, NUMBERS)
        config["center"] = check_flag("center", config["center"])
        self.n_classes = config["n_classes"]
        if not isinstance(self.layer, str) or self.layer in ("cls", "attn"):
            raise UsageError(
                f"layer must be one of patch features (out, t<block>, k<block>), got {self.layer!r}"
            )
        if config["foreground_rule"] not in FOREGROUND_RULES:
            known = ", ".join(FOREGROUND_RULES)
            raise UsageError(f"unknown foreground rule {config['foreground_rule']!r}; known: {known}")
        create_refiner(config["refine"])

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers to extract."""
        cue = ("attn",) if self._config["foreground_rule"] != "border" else ()
        return (self.layer, "cls", *cue)

    # ------------------------------------------------------------------ fitting

    def fit(self, features: FeatureSource, *, progress: Progress | None = None) -> LightCluster:
        """Fit the three levels on a sample of patches, then cluster the regions of all images into classes.

        Raises:
            PseudoMaskError: the source yields no image.
        """
        progress = progress or NullProgress()
        self.fit_foreground(features, progress=progress)
        region_cls, region_area = self._collect_regions(features, progress)
        with progress.stage("classes", total=1, unit="fit") as stage:
            self._fit_classes(region_cls, region_area)
            stage.update()
        return self

    def fit_foreground(self, features: FeatureSource, *, progress: Progress) -> LightCluster:
        """Fit the three levels alone; enough for :meth:`vote`.

        Raises:
            PseudoMaskError: the source yields no image.
        """
        config = self._config
        seed = config["random_state"]
        with progress.stage("sample", total=len(features)) as stage:
            sample = sample_patches(
                features,
                len(features),
                lambda image: image[self.layer],
                budget=config["sample_size"],
                seed=seed,
                advance=stage.update,
            )
        if len(sample.vectors) == 0:
            raise PseudoMaskError("no image could be read, so there is nothing to learn from")
        with progress.stage("levels", total=2, unit="fit") as stage:
            self._levels = Levels.fit(sample, len(features), config, self.n_jobs, stage.update)
        return self

    def vote(self, image: ImageFeatures) -> np.ndarray:
        """Return the three levels' vote for an image before refinement.

        Returns:
            (2, h, w) float32 scores of background and foreground at patch resolution.
        """
        return self._levels.vote(image[self.layer], image["cls"], image.grid, image.digest)

    def _collect_regions(self, features: FeatureSource, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
        """Return CLS features (n, D) and areas (n,) of a bounded sample of the regions of all images."""
        cls: list[np.ndarray] = []
        area: list[np.ndarray] = []
        keep = min(1.0, MAX_REGIONS_FOR_FIT / (2.0 * max(1, len(features))))
        with progress.stage("foreground, regions", total=len(features)) as stage:
            for chunk in batched(features, CHUNK):
                for image, found in zip(chunk, self._regions_of(chunk), strict=True):
                    stage.update()
                    if isinstance(found, ImageReadError):
                        continue  # labelling will meet it again and list it
                    if image_rng(self._config["random_state"] + 1, image.digest).random() <= keep:
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
            self._class_normalizer = VectorNormalizer()
            self._class_normalizer.mean_ = np.zeros(cls.shape[1], np.float32)
            self._class_normalizer.projection_ = None
            self._class_centers = np.zeros((0, cls.shape[1]), np.float32)
            return
        self._class_normalizer = VectorNormalizer(standardize=len(cls) > 1).fit(cls)
        vectors = self._class_normalizer.transform(cls)
        kmeans = ReproducibleKMeans(self.n_classes, n_init=10, random_state=self._config["random_state"])
        labels = kmeans.fit(vectors).labels_
        weight = np.bincount(labels, weights=area, minlength=len(kmeans.cluster_centers_))
        self._class_centers = kmeans.cluster_centers_[np.argsort(-weight, kind="stable")]
        if len(self._class_centers) < self.n_classes:
            logger.warning(
                "%d classes asked for, but only %d distinct regions were found: using %d classes",
                self.n_classes,
                len(self._class_centers),
                len(self._class_centers),
            )

    @property
    def n_classes_(self) -> int:
        """Number of classes found by :meth:`fit`."""
        return len(self._class_centers)

    # ------------------------------------------------------------------ one image

    def _regions_of(self, images: list[ImageFeatures]) -> list[dict[str, np.ndarray] | ImageReadError]:
        """Return for each image its foreground map and its regions' CLS features and areas.

        The per-image clustering and the refinement run in worker processes, the crops through the backbone
        here; both are remembered, so that labelling the training images costs neither again. An image that
        cannot be read any more gives its error instead.
        """
        name = f"regions-{self._fingerprint()}"
        levels = self._levels
        results: list[dict[str, np.ndarray] | ImageReadError | None] = []
        new, tasks = [], []
        for image in images:
            found = image.memo.get(name)
            results.append(found)
            if found is None:
                try:
                    features = image[self.layer], image["cls"]  # lazy: this may read the image
                except ImageReadError as error:
                    results[-1] = error
                    continue
                new.append(len(results) - 1)
                tasks.append((levels, *features, image.grid, image.digest, image.read_image))
        for index, foreground in zip(new, parallel_map(foreground_map, tasks, self.n_jobs), strict=True):
            results[index] = self._describe(images[index], foreground, name)
        return [result for result in results if result is not None]

    def _describe(
        self, image: ImageFeatures, foreground: np.ndarray | ImageReadError, name: str
    ) -> dict[str, np.ndarray] | ImageReadError:
        """Find and encode the regions of one image, and keep the result under ``name``."""
        if isinstance(foreground, ImageReadError):
            return foreground
        config = self._config
        regions = _regions(foreground, image.size, config["min_region"], config["max_regions"])
        boxes = [expand_box(box, image.size, config["context"]) for box in region_boxes(regions)]
        try:
            cls = image.crop_cls(boxes) if boxes else np.zeros((0, len(image["cls"])), np.float32)
        except ImageReadError as error:
            return error
        area = np.bincount(regions.ravel(), minlength=len(boxes) + 1)[1:] / regions.size
        found = {"foreground": foreground, "cls": cls.astype(np.float32), "area": area.astype(np.float64)}
        image.memo.put(name, found)
        return found

    def prefetch(self, images: list[ImageFeatures]) -> None:
        """Find the regions of several images at once, with worker processes, for :meth:`predict` to use."""
        self._regions_of(images)

    def predict(self, features: ImageFeatures) -> LabelScores:
        """Label one image at native resolution.

        Returns:
            Scores of background (0) and of the classes of its regions, already refined.

        Raises:
            ImageReadError: the image cannot be read any more.
        """
        found = self._regions_of([features])[0]
        if isinstance(found, ImageReadError):
            raise found
        config = self._config
        probability = resize_scores(found["foreground"][None] / np.float32(255), *features.size)[0]
        regions = _regions(found["foreground"], features.size, config["min_region"], config["max_regions"])
        classes = self._classify(found["cls"])
        labels = np.unique(np.concatenate([[0], classes])).astype(np.int64)
        class_of_region = np.concatenate([[0], classes])
        hard = class_of_region[regions]
        # outside the regions the foreground's probability (below 1/2) is shared by the classes of the image
        share = np.array([(hard == label).mean() for label in labels[1:]], np.float32)
        share /= max(float(share.sum()), 1e-12)
        scores = np.empty((len(labels), *features.size), np.float32)
        inside = hard > 0
        scores[0] = np.where(inside, 1 - probability, 1 - np.minimum(probability, 0.5))
        for row, label in enumerate(labels[1:], start=1):
            outside = np.minimum(probability, 0.5) * share[row - 1]
            scores[row] = np.where(inside, probability * (hard == label), outside)
        if len(labels) == 1:
            scores[0] = 1.0
        return LabelScores(labels, scores, refined=True)

    def explain(self, image: ImageFeatures) -> list[Panel]:
        """Show the three levels, their vote, the refined foreground and the regions with their classes."""
        x = self._levels.normalizer.transform(image[self.layer])
        names = ("data-set level", "category level", "image level")
        panels = [
            Panel(name, vote.reshape(image.grid), "heat")
            for name, vote in zip(names, self._levels.level_votes(x, image["cls"], image.digest), strict=True)
        ]
        panels.append(Panel("vote of the three", self.vote(image)[1], "heat"))
        found = self._regions_of([image])[0]
        if isinstance(found, ImageReadError):
            raise found
        config = self._config
        regions = _regions(found["foreground"], image.size, config["min_region"], config["max_regions"])
        panels.append(Panel(f"refined ({config['refine']})", found["foreground"], "heat"))
        panels.append(Panel(f"regions: {regions.max()}", regions, "labels"))
        return panels

    def _classify(self, cls: np.ndarray) -> np.ndarray:
        """Return the class ids (from 1) of (n, D) region features: nearest centre."""
        if len(cls) == 0 or len(self._class_centers) == 0:
            return np.zeros(len(cls), np.int64)
        vectors = self._class_normalizer.transform(cls)
        return 1 + squared_distances(vectors, self._class_centers).argmin(1)

    # ------------------------------------------------------------------ saving

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments (``n_jobs`` left out: it does not change results)."""
        return dict(self._config)

    def get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return learnt values and arrays, see :class:`~.base.Method`."""
        n_groups, levels = self._levels.get_state()
        arrays = {f"levels.{k}": v for k, v in levels.items()}
        arrays |= {f"classes.{k}": v for k, v in normalizer_arrays(self._class_normalizer).items()}
        arrays["classes.centers"] = self._class_centers
        return {"n_groups": n_groups, "n_classes": self.n_classes_}, arrays

    def set_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Restore what :meth:`get_state` returned.

        Raises:
            KeyError: something is missing.
            UsageError: something does not fit.
        """
        self._levels = Levels.from_state(values["n_groups"], arrays, self._config, prefix="levels.")
        saved = SavedArrays(arrays, "classes.")
        self._class_normalizer = saved.normalizer()
        self._class_centers = saved.floats("centers", None, self._class_normalizer.dim_)
        saved.require_ids(self.n_classes_)

    def _fingerprint(self) -> str:
        """Hash of all that the foreground and the regions of an image depend on."""
        digest = hashlib.sha256(json.dumps(self._config, sort_keys=True).encode())
        for name, array in sorted(self._levels.get_state()[1].items()):
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def _regions(foreground: np.ndarray, size: tuple[int, int], min_area: float, max_regions: int) -> np.ndarray:
    """Number the regions of an image from its stored uint8 foreground map, at native size."""
    probability = resize_scores(foreground[None] / np.float32(255), *size)[0]
    return connected_regions(probability > 0.5, min_area, max_regions)
