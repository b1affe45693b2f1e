"""Mosaic: the default method. Regions cut in several ways, one graph over all images, a linear head.

Tokens of several blocks are whitened together; every image is cut into regions in several ways; the
regions of all images are clustered spectrally on one nearest-neighbour graph; and a linear head learns to
tell the clusters apart patch by patch, from the patches on which the cuts agree. Labelling an image
is then the forward pass and one matrix product. What each part gives is measured in docs/mosaic.md.

Kin: spectral clustering of region features over a data set (Melas-Kyriazi et al., "Deep Spectral Methods",
CVPR 2022, section 3.3; COMUS, Zadaianchuk et al., ICLR 2023), whitened region features (MaskDistill, Van
Gansbeke et al., 2022), a head trained on its own clusters (self-training, e.g. COMUS).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from ...clustering.head import SoftmaxHead
from ...clustering.normalize import VectorNormalizer, blur_patches, l2_normalize, normalizer_arrays
from ...clustering.region_classes import pool_regions, stack_layers
from ...clustering.spreading import spread_scores
from ...common.parallel import batched, one_thread, parallel_map
from ...common.progress import NullProgress, Progress
from ...errors import PseudoMaskError
from ...features.sampling import image_rng, sample_patches
from ...features.types import FeatureSource, ImageFeatures
from ...images.drawing import Panel
from ...masks.scores import LabelScores
from ..lightcluster.method import LightCluster
from ..lightcluster.votes import Levels
from ..saved import SavedArrays
from .config import STACK, check_config
from .graph import RegionGraph, cluster_regions, foreground_weight, links_between_images
from .regions import CutTask, RegionTable, cut_image, cut_labels, owner_of

__all__ = ["Mosaic"]

CHUNK = 32  # images handed to the workers at once
CUT_COMPONENTS = 64  # PCA components that images are cut by
AUTO_GUESS = 20  # classes, where their number is yet to be found


class Mosaic:
    """Regions cut in several ways, clustered over the data set, and a linear head on whitened tokens.

    Args:
        n_classes: K; ``auto`` reads it off the eigenvalues of the region graph, between 5 and 60.
        layers: patch features, each L2-normalised and stacked; negative blocks count from the last.
        cuts: how images are cut into regions: pairs of a layer (or ``stack`` for all of ``layers``) and a
            number of k-means clusters. Patches are whitened to 64 components and blurred lightly first.
        cue: layer on which foreground is told from background, by LightCluster's three levels.
        cue_regions: regions of one more cut, by the patches of ``cue`` as they are, whose outlines follow
            objects where those of whitened patches follow surfaces; 0 for none.
        whiten: PCA components of the stacked features that the head sees.
        graph_whiten: PCA components of region descriptors; one neighbour graph for each; edges on
            which they agree weigh more.
        blur: sigma, in patches, of the Gaussian blur before an image is cut.
        foreground: weight of a region's foreground probability in its descriptor, beside a unit vector;
            ``auto``: :func:`~.mosaic_graph.foreground_weight`.
        neighbours: of every region in the graph over all images, for each cut; fewer in small data sets.
        sample_size: patches that the whitening and the foreground cue are fitted on.
        max_images: images whose regions make the graph; beyond, a random subset of about this size.
        max_landmarks: regions in the graph; the others follow their nearest neighbours in it.
        head_patches: patches that the head learns from.
        regularization: C of the head's logistic regression.
        spread: share the head's probabilities among similar patches of an image,
            see :func:`~..clustering.spreading.spread_scores`.
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
        cuts: Sequence[tuple[str, int]] = (("out", 9), ("stack", 9)),
        cue: str = "k-1",
        cue_regions: int = 6,
        whiten: int = 96,
        graph_whiten: Sequence[int] = (96, 48, 64, 128, 192, 256),
        blur: float = 0.7,
        foreground: float | Literal["auto"] = "auto",
        neighbours: int = 30,
        sample_size: int = 65_536,
        max_images: int = 4_000,
        max_landmarks: int = 12_000,
        head_patches: int = 40_000,
        regularization: float = 0.01,
        spread: bool = True,
        refine: str = "crf",
        random_state: int = 0,
        n_jobs: int = 0,
    ) -> None:
        config = {k: v for k, v in locals().items() if k not in ("self", "n_jobs")}
        config["layers"], config["cuts"] = list(layers), [list(cut) for cut in cuts]
        config["graph_whiten"] = list(graph_whiten)
        check_config(config)
        self._config = config
        self.n_jobs = n_jobs

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers to extract."""
        config = self._config
        cue = [config["cue"]] if self._foreground_weight or config["cue_regions"] else []
        cut_by = [layer for layer, _ in config["cuts"] if layer != STACK]
        return tuple(dict.fromkeys([*config["layers"], *cut_by, *cue, "cls"]))

    @property
    def _foreground_weight(self) -> float:
        weight = self._config["foreground"]
        if weight != "auto":
            return float(weight)
        return foreground_weight(self._config["n_classes"])

    @property
    def n_classes_(self) -> int:
        """Number of classes found by :meth:`fit`."""
        return len(self._head.bias_)

    @property
    def eigenvalues_(self) -> np.ndarray:
        """(E,) ascending eigenvalues of the region graph's Laplacian, none where there were few regions."""
        return self._graph.eigenvalues

    # ------------------------------------------------------------------ fitting

    def fit(self, features: FeatureSource, *, progress: Progress | None = None) -> Mosaic:
        """Learn whitening, regions, classes and the head, in two passes over the stream.

        Raises:
            PseudoMaskError: the source yields no image.
        """
        progress = progress or NullProgress()
        self.fit_features(features, progress)
        regions = self.collect_regions(features, progress)
        with progress.stage("classes", total=2, unit="fit") as stage:
            clusters = self._cluster(regions)
            stage.update()
            self._fit_head(clusters)
            stage.update()
        return self

    def fit_features(self, features: FeatureSource, progress: Progress) -> Mosaic:
        """Fit the whitenings and the foreground cue on the same sampled patches, the first part of a fit."""
        config = self._config
        names = [layer for layer in self.layers if layer != "cls"]
        widths: list[int] = []

        def stacked(image: ImageFeatures) -> np.ndarray:
            parts = [np.asarray(image[layer], np.float32) for layer in names]
            widths[:] = [part.shape[1] for part in parts]
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
        parts = dict(zip(names, np.split(sample.vectors, np.cumsum(widths)[:-1], axis=1), strict=True))
        tokens = stack_layers([parts[layer] for layer in config["layers"]])
        self._normalizer = VectorNormalizer(whiten=config["whiten"]).fit(tokens)
        cut_by = dict.fromkeys(layer for layer, _ in config["cuts"])
        self._cut_normalizers = {
            layer: VectorNormalizer(whiten=CUT_COMPONENTS).fit(parts[layer])
            for layer in cut_by
            if layer != STACK
        }
        if STACK in cut_by:  # the covariance of many thousand stacked tokens takes seconds: once is enough
            enough = config["whiten"] >= CUT_COMPONENTS
            stack = self._normalizer if enough else VectorNormalizer(whiten=CUT_COMPONENTS).fit(tokens)
            self._cut_normalizers[STACK] = stack.first(CUT_COMPONENTS)
        self._levels: Levels | None = None
        if self._foreground_weight:
            cue = LightCluster(random_state=config["random_state"]).get_config()
            step = -(-len(sample.vectors) // cue["sample_size"])
            thinned = replace(
                sample,
                vectors=parts[config["cue"]][::step],
                image=sample.image[::step],
                border=sample.border[::step],
            )
            self._levels = Levels.fit(thinned, len(features), cue, self.n_jobs, lambda: None)
        return self

    def collect_regions(self, features: FeatureSource, progress: Progress) -> RegionTable:
        """Cut a bounded subset of the images into regions, in worker processes."""
        config = self._config
        keep = min(1.0, config["max_images"] / max(1, len(features)))
        n_images = min(len(features), config["max_images"])
        n_patches = -(-config["head_patches"] // max(1, n_images))
        regions = RegionTable(len(config["cuts"]) + (config["cue_regions"] > 0))
        passed_over: ImageFeatures | None = None
        with progress.stage("regions", total=len(features)) as stage:
            for chunk in batched(features, CHUNK):
                stage.update(len(chunk))
                tasks = []
                for image in chunk:
                    rng = image_rng(config["random_state"] + 1, image.digest)
                    if rng.random() <= keep:
                        tasks.append((self._levels, self._task(image, n_patches)))
                    else:
                        passed_over = passed_over or image
                for cut in parallel_map(cut_image, tasks, self.n_jobs):
                    regions.add(cut)
        if not regions.descriptors and passed_over is not None:
            regions.add(cut_image(self._levels, self._task(passed_over, n_patches)))
        return regions

    def _task(self, image: ImageFeatures, n_patches: int) -> CutTask:
        """Gather what a worker needs to cut one image."""
        config = self._config
        cuts = [(self._cut_vectors(image, layer), number) for layer, number in config["cuts"]]
        if config["cue_regions"]:
            cuts.append((l2_normalize(image[config["cue"]]), config["cue_regions"]))
        return CutTask(
            tokens=self._tokens(image),
            cuts=cuts,
            cue=np.asarray(image[config["cue"]]) if self._levels is not None else None,
            cls=np.asarray(image["cls"]),
            grid=image.grid,
            digest=image.digest,
            n_patches=n_patches,
            seed=int(image_rng(config["random_state"], image.digest).integers(2**31)),
        )

    def _tokens(self, image: ImageFeatures) -> np.ndarray:
        """Return the (h*w, D) float32 stacked tokens of an image."""
        return stack_layers([image[layer] for layer in self._config["layers"]])

    def _cut_vectors(self, image: ImageFeatures, layer: str) -> np.ndarray:
        """Return the (h*w, d) float32 whitened, blurred unit vectors that an image is cut by."""
        tokens = self._tokens(image) if layer == STACK else image[layer]
        with one_thread():
            vectors = self._cut_normalizers[layer].transform(tokens)
        return blur_patches(vectors, image.grid, self._config["blur"])

    def _cluster(self, regions: RegionTable) -> np.ndarray:
        """Build the graph, keep what is needed to cut it again, and return the clusters of its landmarks."""
        config = self._config
        descriptors = regions.join_descriptors()
        spectral, self._region_normalizer = cluster_regions(
            descriptors,
            np.concatenate(regions.foreground),
            config["n_classes"],
            whiten=config["graph_whiten"],
            foreground_weight=self._foreground_weight,
            neighbours=self._neighbours(min(len(descriptors), config["max_landmarks"]), regions.n_cuts),
            max_landmarks=config["max_landmarks"],
            random_state=config["random_state"],
        )
        rows = spectral.landmark_rows_
        owners = np.concatenate(regions.owners)[rows]
        self._graph = RegionGraph(
            np.ascontiguousarray(spectral.embedding_),  # as it is loaded: sums depend on the order in memory
            spectral.eigenvalues_,
            spectral.voters_.astype(np.int32),
            self._region_normalizer.transform(descriptors[rows]).astype(np.float16),
            owners,
            *links_between_images(spectral.graph_, owners),
            np.concatenate(regions.region_of_patch).astype(np.int32),
            self._head_vectors(np.concatenate(regions.patches)).astype(np.float16),
        )
        return spectral.landmark_labels_

    def _neighbours(self, n_regions: int, n_cuts: int) -> int:
        """Return how many neighbours a region has in the graph: no more than half the regions of a class."""
        k = self._config["n_classes"]
        limit = n_regions // (2 * (AUTO_GUESS if k == "auto" else k))
        return max(5, min(self._config["neighbours"] * n_cuts, limit))

    def _fit_head(self, clusters: np.ndarray) -> None:
        """Teach the head the classes that most cuts give a patch, weighted by their agreement.

        Classes are numbered by falling area, so that ids are stable under relabelling of the clusters.
        """
        votes = self._graph.votes(clusters)
        order = np.argsort(-votes.sum(0), kind="stable")
        votes = votes[:, order]
        self._clusters = np.argsort(order)[clusters].astype(np.int32)
        self._cohesion = self._graph.cohesion(self._clusters)
        self._head = SoftmaxHead(self._config["regularization"]).fit(
            self._graph.patches, votes.argmax(1), votes.shape[1], sample_weight=votes.max(1)
        )

    def recut(self, n_classes: int) -> Mosaic:
        """Return this fitted method with K other classes, cut from the same graph; no image is read.

        Raises:
            UsageError: K is larger than the number of eigenvectors that were kept, 61 or K + 1 of the fit.
        """
        other = Mosaic(**{**self._config, "n_classes": n_classes}, n_jobs=self.n_jobs)
        other._normalizer, other._cut_normalizers = self._normalizer, self._cut_normalizers
        other._graph, other._region_normalizer = self._graph, self._region_normalizer
        other._fit_head(self._graph.cut(n_classes))
        return other

    # ------------------------------------------------------------------ one image

    def prefetch(self, images: list[ImageFeatures]) -> None:
        """Nothing is worth doing for several images at once."""

    def predict(self, features: ImageFeatures) -> LabelScores:
        """Label one image at patch resolution, with the classes that win somewhere.

        Returns:
            (L, h, w) probabilities of the head, scaled to sum to 1 over those classes.
        """
        tokens = self._tokens(features)
        with one_thread():
            probability = self._spread(self._by_head(tokens), tokens)
            present, descriptors, _ = pool_regions(tokens, probability.argmax(1))
            segments = self._region_normalizer.transform(descriptors)
        scores = probability[:, present].T.reshape(len(present), *features.grid)
        agreement = self._graph.agreement(
            segments, present, self._clusters, self._cohesion, owner_of(features.digest)
        )
        return LabelScores(1 + present, np.ascontiguousarray(scores / scores.sum(0)), agreement=agreement)

    def _by_head(self, tokens: np.ndarray) -> np.ndarray:
        """Return the (n, K) float32 probabilities that the head gives (n, D) stacked tokens."""
        return self._head.predict_proba(self._head_vectors(tokens))

    def _spread(self, probability: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Share the (n, K) probabilities among similar patches of the image, where that is asked for."""
        if not self._config["spread"]:
            return probability
        present = np.unique(probability.argmax(1))  # few of K, and the others cannot win
        spread = np.zeros_like(probability)
        spread[:, present] = spread_scores(probability[:, present], l2_normalize(tokens))
        return spread

    def _head_vectors(self, tokens: np.ndarray) -> np.ndarray:
        """Whiten (n, D) stacked tokens; scaled to a variance of about 1, as the head's C expects."""
        with one_thread():
            vectors = self._normalizer.transform(tokens)
        return vectors * np.float32(np.sqrt(vectors.shape[1]))

    def explain(self, image: ImageFeatures) -> list[Panel]:
        """Return the stages for one image, see :class:`~.panels.Explainable`."""
        tokens = self._tokens(image)
        head = self._by_head(tokens)
        panels = []
        seed = int(image_rng(self._config["random_state"], image.digest).integers(2**31))
        for layer, number in self._config["cuts"]:
            labels = cut_labels(self._cut_vectors(image, layer), number, seed)
            panels.append(Panel(f"{labels.max() + 1} regions by {layer}", _grid(1 + labels, image), "labels"))
        panels.append(Panel("confidence of the head", _grid(head.max(1), image), "heat"))
        panels.append(Panel("classes by the head", _grid(1 + head.argmax(1), image), "labels"))
        if self._config["spread"]:
            spread = self._spread(head, tokens).argmax(1)
            panels.append(Panel("spread in the image", _grid(1 + spread, image), "labels"))
        return panels

    # ------------------------------------------------------------------ saving

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments (``n_jobs`` left out: it does not change results)."""
        return dict(self._config)

    def get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return learnt values and arrays, see :class:`~.base.Method`."""
        arrays = {f"features.{k}": v for k, v in normalizer_arrays(self._normalizer).items()}
        for layer, normalizer in self._cut_normalizers.items():
            arrays |= {f"cut.{layer}.{k}": v for k, v in normalizer_arrays(normalizer).items()}
        arrays |= {"head.weight": self._head.weight_, "head.bias": self._head.bias_}
        arrays |= {f"graph.{k}": v for k, v in self._graph.arrays().items()}
        arrays |= {f"regions.{k}": v for k, v in normalizer_arrays(self._region_normalizer).items()}
        arrays["clusters"] = self._clusters
        return {"n_classes": self.n_classes_}, arrays

    def set_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Restore what :meth:`get_state` returned.

        Raises:
            KeyError: something is missing.
            UsageError: something does not fit.
        """
        saved = SavedArrays(arrays)
        self._normalizer = saved.below("features.").normalizer()
        self._cut_normalizers = {
            layer: saved.below(f"cut.{layer}.").normalizer() for layer, _ in self._config["cuts"]
        }
        self._head = SoftmaxHead(self._config["regularization"])
        self._head.weight_ = saved.floats("head.weight", self._normalizer.dim_, None)
        self._head.bias_ = saved.floats("head.bias", self._head.weight_.shape[1])
        saved.require_ids(self.n_classes_)
        self._region_normalizer = saved.below("regions.").normalizer()
        self._graph = RegionGraph.restore(
            saved.below("graph."), self._region_normalizer.dim_, self._normalizer.dim_
        )
        regions = len(self._graph.vectors)
        self._clusters = saved.indices("clusters", regions, below=self.n_classes_)
        self._cohesion = self._graph.cohesion(self._clusters)


def _grid(values: np.ndarray, image: ImageFeatures) -> np.ndarray:
    return values.reshape(image.grid)
