"""Baselines with the contract of a method: what a proposal has to beat, and what shows up a weak protocol."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fiftyone_plugin.clustering.kmeans import ReproducibleKMeans
from fiftyone_plugin.clustering.normalize import VectorNormalizer, l2_normalize
from fiftyone_plugin.common.progress import Progress
from fiftyone_plugin.features.sampling import image_rng, sample_patches
from fiftyone_plugin.features.types import FeatureBatch, FeatureSource, ImageFeatures
from fiftyone_plugin.masks.scores import DeviceScores, LabelScores


def one_hot(labels: np.ndarray, grid: tuple[int, int]) -> LabelScores:
    """Turn (h*w,) hard labels >= 1 into scores."""
    present, rows = np.unique(labels, return_inverse=True)
    scores = (rows[None] == np.arange(len(present))[:, None]).astype(np.float32)
    return LabelScores(present.astype(np.int64), scores.reshape(-1, *grid))


class _Baseline:
    has_background = False
    refines = False
    inputs: tuple[str, ...] = ("cls",)

    def __init__(self, n_classes: int, random_state: int = 0) -> None:
        self.n_classes = n_classes
        self.random_state = random_state

    def fit(self, features: FeatureSource, *, progress: Progress) -> Any:
        return self

    def predict_kept(self, images: list[ImageFeatures]) -> list[None]:
        return [None] * len(images)

    def predict_batch(self, batch: FeatureBatch) -> list[DeviceScores]:
        return [DeviceScores.of(self.predict(image), "cpu") for image in batch.images]


class AllOne(_Baseline):
    """Every pixel is class 1."""

    name = "all-one-class"

    def predict(self, features: ImageFeatures) -> LabelScores:
        return one_hot(np.ones(features.grid[0] * features.grid[1], np.int64), features.grid)


class Grid(_Baseline):
    """A regular grid of K cells, numbered by position; looks at no feature."""

    name = "grid"

    def predict(self, features: ImageFeatures) -> LabelScores:
        rows = max(1, math.isqrt(self.n_classes))
        columns = max(1, self.n_classes // rows)
        h, w = features.grid
        y = np.arange(h)[:, None] * rows // h
        x = np.arange(w)[None] * columns // w
        return one_hot((1 + y * columns + x).ravel(), features.grid)


class PatchKMeans(_Baseline):
    """k-means over the patches of the data set, hard assignment."""

    name = "patch-kmeans"
    inputs = ("out", "cls")
    whiten: int | None = None

    def fit(self, features: FeatureSource, *, progress: Progress) -> Any:
        with progress.stage("sample", total=len(features)) as stage:
            sample = sample_patches(
                features,
                len(features),
                lambda image: image[self.inputs[0]],
                budget=131_072,
                seed=self.random_state,
                advance=stage.update,
            )
        self.normalizer = VectorNormalizer(whiten=self.whiten).fit(sample.vectors)
        x = self.normalizer.transform(sample.vectors)
        self.kmeans = ReproducibleKMeans(
            self.n_classes, n_init=3, batch_size=4096, random_state=self.random_state
        ).fit(x)
        return self

    def predict(self, features: ImageFeatures) -> LabelScores:
        x = self.normalizer.transform(features[self.inputs[0]])
        return one_hot(1 + self.kmeans.predict(x).astype(np.int64), features.grid)


class WhitenedPatchKMeans(PatchKMeans):
    """The same over PCA-whitened tokens of block 9 (64 components)."""

    name = "patch-kmeans-whitened"
    inputs = ("t9", "cls")
    whiten = 64


class RegionSpectral(_Baseline):
    """Per-image k-means regions, pooled, then spectral clustering of all regions on a 30-NN graph.

    Labels the images it was fitted on; tokens of blocks 8, 9 and 11, each L2-normalised, PCA-whitened to 64.
    """

    name = "region-spectral"
    inputs = ("t8", "t9", "t11", "cls")
    regions_per_image = 5

    def _tokens(self, image: ImageFeatures) -> np.ndarray:
        return np.concatenate([l2_normalize(image[layer]) for layer in self.inputs[:3]], axis=1)

    def _regions(self, image: ImageFeatures) -> tuple[np.ndarray, np.ndarray]:
        x = self.normalizer.transform(self._tokens(image))
        seed = int(image_rng(self.random_state, image.digest).integers(2**31))
        labels = ReproducibleKMeans(self.regions_per_image, n_init=2, random_state=seed).fit(x).labels_
        pooled = np.stack([x[labels == k].mean(0) for k in range(labels.max() + 1)])
        return labels, l2_normalize(pooled)

    def fit(self, features: FeatureSource, *, progress: Progress) -> Any:
        from sklearn.cluster import SpectralClustering

        with progress.stage("sample", total=len(features)) as stage:
            sample = sample_patches(
                features,
                len(features),
                self._tokens,
                budget=65_536,
                seed=self.random_state,
                advance=stage.update,
            )
        self.normalizer = VectorNormalizer(whiten=64).fit(sample.vectors)
        self.region_labels: dict[str, np.ndarray] = {}
        digests, pooled = [], []
        with progress.stage("regions", total=len(features)) as stage:
            for image in features:
                labels, vectors = self._regions(image)
                self.region_labels[image.digest] = labels
                digests += [image.digest] * len(vectors)
                pooled.append(vectors)
                stage.update()
        spectral = SpectralClustering(
            self.n_classes,
            affinity="nearest_neighbors",
            n_neighbors=min(30, len(digests) - 1),
            assign_labels="kmeans",
            random_state=self.random_state,
        )
        classes = 1 + spectral.fit_predict(np.concatenate(pooled))
        self.region_classes = {d: classes[np.array(digests) == d] for d in self.region_labels}
        return self

    def predict(self, features: ImageFeatures) -> LabelScores:
        labels = self.region_labels[features.digest]
        return one_hot(self.region_classes[features.digest][labels].astype(np.int64), features.grid)


BASELINES = {b.name: b for b in (AllOne, Grid, PatchKMeans, WhitenedPatchKMeans, RegionSpectral)}
