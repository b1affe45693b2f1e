"""Mosaic: the default method. Regions at several granularities, one graph over all images, a linear head.

Tokens of several blocks are whitened together; every image is cut into regions at several granularities; the
regions of all images are clustered spectrally on one nearest-neighbour graph; and a linear head learns to
tell the clusters apart patch by patch, from the patches on which the granularities agree. Labelling an image
is then the forward pass and one matrix product. What each part gives is measured in docs/mosaic.md.

Kin: spectral clustering of region features over a data set (Melas-Kyriazi et al., "Deep Spectral Methods",
CVPR 2022, section 3.3; COMUS, Zadaianchuk et al., ICLR 2023), whitened region features (MaskDistill, Van
Gansbeke et al., 2022), a head trained on its own clusters (self-training, e.g. COMUS).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from ..clustering.foreground import soft_foreground
from ..clustering.head import SoftmaxHead
from ..clustering.kmeans import ReproducibleKMeans, squared_distances
from ..clustering.levels import ForegroundClusters, fit_dataset_level
from ..clustering.normalize import VectorNormalizer, l2_normalize
from ..clustering.region_classes import pool_regions, stack_layers
from ..clustering.sampling import image_rng, sample_patches
from ..clustering.spectral import LandmarkSpectral
from ..errors import PseudoMaskError, UsageError
from ..features.types import FeatureSource, ImageFeatures
from ..parallel import batched, parallel_map
from ..progress import NullProgress, Progress
from .base import LabelScores
from .foreground import normalizer_arrays, restore_normalizer
from .panels import Panel
from .parameters import Number, check_numbers

__all__ = ["Mosaic"]

CHUNK = 32  # images handed to the workers at once
BORDER_RATIO = 0.8  # of the foreground cue, as in LightCluster
TEMPERATURE = 0.1

NUMBERS = {
    "whiten": Number(1),
    "neighbours": Number(1),
    "sample_size": Number(1),
    "max_images": Number(1),
    "max_landmarks": Number(4),
    "head_patches": Number(1),
    "regularization": Number(1e-9, whole=False),
    "random_state": Number(0, 2**32 - 2),
}


class Mosaic:
    """Regions of several granularities, clustered over the data set, and a linear head on whitened tokens.

    Args:
        n_classes: K; ``auto`` reads it off the eigenvalues of the region graph, between 5 and 60.
        layers: patch features, each L2-normalised and stacked; negative blocks count from the last.
        cue: layer on which foreground is told from background, see ``foreground``.
        whiten: PCA components of the stacked features.
        granularities: regions an image is cut into, by k-means on its whitened patches; one cut each.
        foreground: weight of a region's foreground probability in its descriptor, beside a unit vector;
            ``auto``: 0.3 + 6 / K. Two classes alone should differ in it, among many it hardly matters.
        neighbours: of every region in the graph over all images.
        sample_size: patches that the whitening and the foreground cue are fitted on.
        max_images: images whose regions make the graph; beyond, a random subset of about this size.
        max_landmarks: regions in the graph; the others follow their nearest neighbours in it.
        head_patches: patches that the head learns from.
        regularization: C of the head's logistic regression.
        refine: the run's refinement; this method leaves it to the pipeline.
        random_state: seed.
        n_jobs: worker processes for cutting images into regions; 0 for all cores.

    Attributes:
        n_classes_: classes found.
        eigenvalues_: smallest eigenvalues of the region graph's Laplacian, the evidence for ``auto``.
    """

    name = "mosaic"
    has_background = False

    def __init__(
        self,
        n_classes: int | Literal["auto"] = 20,
        *,
        layers: tuple[str, ...] | list[str] = ("t-4", "t-3", "t-1"),
        cue: str = "k-1",
        whiten: int = 64,
        granularities: tuple[int, ...] | list[int] = (5, 9, 14),
        foreground: float | Literal["auto"] = "auto",
        neighbours: int = 60,
        sample_size: int = 65_536,
        max_images: int = 4_000,
        max_landmarks: int = 12_000,
        head_patches: int = 40_000,
        regularization: float = 1.0,
        refine: str = "crf",
        random_state: int = 0,
        n_jobs: int = 0,
    ) -> None:
        config = {k: v for k, v in locals().items() if k not in ("self", "n_jobs")}
        config["layers"], config["granularities"] = list(layers), list(granularities)
        self._config = config
        self.n_jobs = n_jobs
        self._validate()

    def _validate(self) -> None:
        config = self._config
        check_numbers(config, NUMBERS)
        if config["n_classes"] != "auto":
            check_numbers(config, {"n_classes": Number(1, 65_535)})
        if config["foreground"] != "auto":
            check_numbers(config, {"foreground": Number(0, whole=False)})
        if not config["layers"] or any(layer in ("cls", "attn") for layer in config["layers"]):
            raise UsageError(
                f"layers must be patch features (out, t<block>, k<block>), got {config['layers']}"
            )
        cuts = {f"granularities[{i}]": k for i, k in enumerate(config["granularities"])}
        if not cuts:
            raise UsageError("granularities must name at least one number of regions")
        check_numbers(cuts, {name: Number(1, 255) for name in cuts})

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers to extract."""
        cue = (self._config["cue"],) if self._foreground_weight else ()
        return tuple(dict.fromkeys((*self._config["layers"], *cue, "cls")))

    @property
    def _foreground_weight(self) -> float:
        weight, k = self._config["foreground"], self._config["n_classes"]
        if weight != "auto":
            return float(weight)
        return 0.3 + (0.0 if k == "auto" else 6.0 / k)

    @property
    def n_classes_(self) -> int:
        """Number of classes found by :meth:`fit`."""
        return len(self._head.bias_)

    # ------------------------------------------------------------------ fitting

    def fit(self, features: FeatureSource, *, progress: Progress | None = None) -> Mosaic:
        """Learn whitening, regions, classes and the head, in two passes over the stream.

        Raises:
            PseudoMaskError: the source yields no image.
        """
        progress = progress or NullProgress()
        self._fit_features(features, progress)
        regions = self._collect(features, progress)
        with progress.stage("classes", total=2, unit="fit") as stage:
            spectral = self._cluster(regions)
            stage.update()
            self._fit_head(regions, spectral)
            stage.update()
        return self

    def _fit_features(self, features: FeatureSource, progress: Progress) -> None:
        """Fit the whitening and the foreground cue on the same sampled patches."""
        config = self._config
        widths: list[int] = []

        def stacked(image: ImageFeatures) -> np.ndarray:
            parts = [stack_layers([image[layer] for layer in config["layers"]])]
            if self._foreground_weight:
                parts.append(np.asarray(image[config["cue"]], np.float32))
            widths[:] = [parts[0].shape[1]]
            return np.concatenate(parts, axis=1)

        with progress.stage("sample", total=len(features)) as stage:
            sample = sample_patches(
                features,
                len(features),
                stacked,
                budget=config["sample_size"],
                seed=config["random_state"],
                advance=stage.update,
            )
        if len(sample.vectors) == 0:
            raise PseudoMaskError("no image could be read, so there is nothing to learn from")
        tokens = np.asarray(sample.vectors[:, : widths[0]], np.float32)
        self._normalizer = VectorNormalizer(whiten=config["whiten"]).fit(tokens)
        self._cue: ForegroundClusters | None = None
        if self._foreground_weight:
            keys = l2_normalize(sample.vectors[:, widths[0] :])
            self._cue = fit_dataset_level(
                sample,
                keys,
                3,
                rule="border",
                border_ratio=BORDER_RATIO,
                n_init=2,
                batch_size=None,
                random_state=config["random_state"],
            )

    def _collect(self, features: FeatureSource, progress: Progress) -> _Regions:
        """Cut a bounded subset of the images into regions, in worker processes."""
        config = self._config
        keep = min(1.0, config["max_images"] / max(1, len(features)))
        n_images = min(len(features), config["max_images"])
        n_patches = -(-config["head_patches"] // max(1, n_images))
        regions = _Regions(len(config["granularities"]))
        passed_over: ImageFeatures | None = None
        with progress.stage("regions", total=len(features)) as stage:
            for chunk in batched(features, CHUNK):
                stage.update(len(chunk))
                tasks = []
                for image in chunk:
                    rng = image_rng(config["random_state"] + 1, image.digest)
                    if rng.random() <= keep:
                        tasks.append(self._task(image, n_patches))
                    else:
                        passed_over = passed_over or image
                for cut in parallel_map(_cut, tasks, self.n_jobs):
                    regions.add(*cut)
        if not regions.descriptors and passed_over is not None:
            regions.add(*_cut(*self._task(passed_over, n_patches)))
        return regions

    def _task(self, image: ImageFeatures, n_patches: int) -> tuple[Any, ...]:
        seed = int(image_rng(self._config["random_state"], image.digest).integers(2**31))
        cuts, weight = self._config["granularities"], self._foreground_weight
        return self._vectors(image), self._foreground(image), weight, cuts, n_patches, seed

    def _vectors(self, image: ImageFeatures) -> np.ndarray:
        """Return the (h*w, d) float32 whitened unit tokens of an image."""
        with threadpool_limits(1):
            return self._normalizer.transform(
                stack_layers([image[layer] for layer in self._config["layers"]])
            )

    def _foreground(self, image: ImageFeatures) -> np.ndarray:
        """Return the (h*w,) float32 foreground probability of the data-set level."""
        if self._cue is None:
            return np.zeros(len(image[self._config["layers"][0]]), np.float32)
        with threadpool_limits(1):
            distances = squared_distances(l2_normalize(image[self._config["cue"]]), self._cue.centers)
        return soft_foreground(distances, self._cue.foreground, TEMPERATURE)

    def _cluster(self, regions: _Regions) -> LandmarkSpectral:
        config = self._config
        spectral = LandmarkSpectral(
            config["n_classes"],
            neighbours=config["neighbours"],
            max_landmarks=config["max_landmarks"],
            random_state=config["random_state"],
        ).fit(l2_normalize(np.concatenate(regions.descriptors)))
        self.eigenvalues_ = spectral.eigenvalues_
        return spectral

    def _fit_head(self, regions: _Regions, spectral: LandmarkSpectral) -> None:
        """Teach the head the classes that most granularities give a patch, weighted by their agreement.

        Classes are numbered by falling area, so that ids are stable under relabelling of the clusters.
        """
        k = spectral.n_clusters_
        votes = np.zeros((len(regions), k), np.float32)
        for cut in np.concatenate(regions.region_of_patch).T:
            votes[np.arange(len(votes)), spectral.labels_[cut]] += 1 / regions.n_cuts
        order = np.argsort(-votes.sum(0), kind="stable")
        votes = votes[:, order]
        patches = np.concatenate(regions.patches).astype(np.float32)
        self._head = SoftmaxHead(self._config["regularization"]).fit(
            _scaled(patches), votes.argmax(1), k, sample_weight=votes.max(1)
        )

    # ------------------------------------------------------------------ one image

    def prefetch(self, images: list[ImageFeatures]) -> None:
        """Nothing is worth doing for several images at once."""

    def predict(self, features: ImageFeatures) -> LabelScores:
        """Label one image at patch resolution, with the classes that win somewhere.

        Returns:
            (L, h, w) probabilities of the head, scaled to sum to 1 over those classes.
        """
        with threadpool_limits(1):
            probability = self._head.predict_proba(_scaled(self._vectors(features)))
        present = np.unique(probability.argmax(1))
        scores = probability[:, present].T.reshape(len(present), *features.grid)
        return LabelScores(1 + present, np.ascontiguousarray(scores / scores.sum(0)))

    def explain(self, image: ImageFeatures) -> list[Panel]:
        """Return the stages for one image, see :class:`~.panels.Explainable`."""
        vectors, cue, _, cuts, _, seed = self._task(image, 1)
        panels = []
        if self._cue is not None:
            panels.append(Panel("foreground cue", cue.reshape(image.grid), "heat"))
        for count in cuts:
            labels = _kmeans(vectors, count, seed)
            panels.append(Panel(f"{labels.max() + 1} regions", 1 + labels.reshape(image.grid), "labels"))
        probability = self._head.predict_proba(_scaled(vectors))
        panels.append(Panel("confidence of the head", probability.max(1).reshape(image.grid), "heat"))
        panels.append(Panel("classes of patches", 1 + probability.argmax(1).reshape(image.grid), "labels"))
        return panels

    # ------------------------------------------------------------------ saving

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments (``n_jobs`` left out: it does not change results)."""
        return dict(self._config)

    def get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return learnt values and arrays, see :class:`~.base.Method`."""
        arrays = {f"features.{k}": v for k, v in normalizer_arrays(self._normalizer).items()}
        arrays |= {"head.weight": self._head.weight_, "head.bias": self._head.bias_}
        arrays["eigenvalues"] = self.eigenvalues_
        if self._cue is not None:
            arrays |= {
                "cue.centers": self._cue.centers,
                "cue.foreground": self._cue.foreground.astype(np.uint8),
            }
        return {"n_classes": self.n_classes_}, arrays

    def set_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Restore what :meth:`get_state` returned."""
        self._normalizer = restore_normalizer(arrays, "features.")
        self._head = SoftmaxHead(self._config["regularization"])
        self._head.weight_, self._head.bias_ = arrays["head.weight"], arrays["head.bias"]
        self.eigenvalues_ = arrays["eigenvalues"]
        self._cue = None
        if "cue.centers" in arrays:
            self._cue = ForegroundClusters(arrays["cue.centers"], arrays["cue.foreground"].astype(bool))


class _Regions:
    """Descriptors of all regions of all cuts, and sampled patches with the regions they lie in."""

    def __init__(self, n_cuts: int) -> None:
        self.n_cuts = n_cuts
        self.descriptors: list[np.ndarray] = []
        self.patches: list[np.ndarray] = []
        self.region_of_patch: list[np.ndarray] = []
        self._count = 0

    def add(self, descriptors: np.ndarray, patches: np.ndarray, region_of_patch: np.ndarray) -> None:
        """Add one image; ``region_of_patch`` (n, cuts) counts within the image."""
        self.descriptors.append(descriptors)
        self.patches.append(patches)
        self.region_of_patch.append(region_of_patch + self._count)
        self._count += len(descriptors)

    def __len__(self) -> int:
        return sum(map(len, self.patches))


def _cut(
    vectors: np.ndarray, foreground: np.ndarray, weight: float, cuts: list[int], n_patches: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut one image into regions at every granularity; runs in a worker process.

    Args:
        vectors: (n, d) whitened unit tokens.
        foreground: (n,) foreground probability.
        weight: of the foreground probability in a descriptor; 0 leaves it out.
        cuts: regions of each cut.
        n_patches: patches to draw for the head.
        seed: of this image.

    Returns:
        (R, d') float32 descriptors of the regions of all cuts, (m, d) float16 drawn patches, and (m, cuts)
        int64 the regions they lie in.
    """
    take = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:n_patches])
    descriptors: list[np.ndarray] = []
    region_of_patch = []
    count = 0
    for number in cuts:
        labels = _kmeans(vectors, number, seed)
        _, pooled, share = pool_regions(vectors, labels)
        if weight:
            inside = np.bincount(labels, weights=foreground) / (share * len(labels))
            pooled = np.column_stack([pooled, weight * inside, weight * (1 - inside)]).astype(np.float32)
        descriptors.append(pooled)
        region_of_patch.append(labels[take] + count)
        count += len(pooled)
    return np.concatenate(descriptors), vectors[take].astype(np.float16), np.stack(region_of_patch, axis=1)


def _kmeans(vectors: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Return (n,) int64 regions 0..R-1, each of which occurs."""
    return (
        ReproducibleKMeans(n_clusters, n_init=1, max_iter=30, random_state=seed)
        .fit(vectors)
        .labels_.astype(np.int64)
    )


def _scaled(vectors: np.ndarray) -> np.ndarray:
    """Scale unit vectors so that one dimension has a variance of about 1, which the head's C refers to."""
    return vectors * np.float32(np.sqrt(vectors.shape[1]))
