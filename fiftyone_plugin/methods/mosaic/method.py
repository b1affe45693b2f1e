"""Mosaic: the default method. Regions cut in several ways, one graph over all images, a linear head.

Tokens of several blocks are whitened together; every image is cut into regions in several ways; the
regions of all images are clustered spectrally on one nearest-neighbour graph; and a linear head learns to
tell the clusters apart patch by patch, from the patches on which the cuts agree. Labelling an image
is then the forward pass and one matrix product. See docs/mosaic.md, and for what was tried
benchmarks/notes/mosaic.md.

Kin: spectral clustering of region features over a data set (Melas-Kyriazi et al., "Deep Spectral Methods",
CVPR 2022, section 3.3; COMUS, Zadaianchuk et al., ICLR 2023), whitened region features (MaskDistill, Van
Gansbeke et al., 2022), a head trained on its own clusters (self-training, e.g. COMUS).
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...clustering.agreement import cohesion
from ...clustering.head import SoftmaxHead
from ...clustering.normalize import DeviceNormalizer, VectorNormalizer, blur_tensors, normalizer_arrays
from ...clustering.region_classes import stack_layers
from ...clustering.spreading import spread_scores
from ...common.parallel import one_thread
from ...common.progress import Progress
from ...errors import ImageReadError, PseudoMaskError
from ...features.sampling import image_rng
from ...features.types import FeatureBatch, FeatureSource, ImageFeatures
from ...images.drawing import Panel
from ...masks.scores import DeviceScores, LabelScores
from ..base import SegmentationMethod, sample_features
from ..lightcluster.config import LightClusterConfig
from ..lightcluster.votes import Levels
from ..saved import SavedArrays
from .checkpoint import RegionStore
from .config import STACK, MosaicConfig
from .graph import RegionGraph, cluster_regions, foreground_weight, links_between_images
from .labelling import Labelling
from .reduction import DETAIL, Reduced, Reduction
from .regions import ImageRegions, RegionTable, cut_labels, describe_regions, owner_of

if TYPE_CHECKING:
    import torch

__all__ = ["Mosaic"]

logger = logging.getLogger(__name__)

CUT_COMPONENTS = 64  # PCA components that images are cut by
AUTO_GUESS = 20  # classes, where their number is yet to be found


class Mosaic(SegmentationMethod[MosaicConfig]):
    """Regions cut in several ways, clustered over the data set, and a linear head on whitened tokens.

    Attributes:
        n_classes_: classes found.
        eigenvalues_: smallest eigenvalues of the region graph's Laplacian, the evidence for ``auto``.
    """

    name = "mosaic"
    can_recut = True
    config_class = MosaicConfig

    normalizer_: VectorNormalizer
    cut_normalizers_: dict[str, VectorNormalizer]
    levels_: Levels | None
    region_normalizer_: VectorNormalizer
    graph_: RegionGraph
    head_: SoftmaxHead
    clusters_: np.ndarray

    @property
    def inputs(self) -> tuple[str, ...]:
        """Layers to extract."""
        config = self.config
        cue = [config.cue] if self._foreground_weight or config.cue_regions else []
        cut_by = [layer for layer, _ in config.cuts if layer != STACK]
        return tuple(dict.fromkeys([*config.layers, *cut_by, *cue, "cls"]))

    @property
    def _foreground_weight(self) -> float:
        weight = self.config.foreground
        return foreground_weight(self.config.n_classes) if weight == "auto" else weight

    @property
    def n_classes_(self) -> int:
        """Number of classes found by :meth:`fit`."""
        return int(self.head_.bias_.size)

    @property
    def eigenvalues_(self) -> np.ndarray:
        """(E,) ascending eigenvalues of the region graph's Laplacian, none where there were few regions."""
        return self.graph_.eigenvalues

    # ------------------------------------------------------------------ fitting

    def _fit(self, features: FeatureSource, progress: Progress) -> None:
        """Learn whitening, regions, classes and the head, in two passes over the stream."""
        self.fit_features(features, progress)
        regions = self.collect_regions(features, progress)
        with progress.stage("classes", total=2, unit="fit") as stage:
            clusters = self._cluster(regions)
            stage.update()
            self._fit_head(clusters)
            stage.update()

    def fit_features(self, features: FeatureSource, progress: Progress) -> Mosaic:
        """Fit the whitenings and the foreground cue on the same sampled patches, the first part of a fit."""
        config = self.config
        names = [layer for layer in self.inputs if layer != "cls"]
        widths: list[int] = []

        def stacked(image: ImageFeatures) -> np.ndarray:
            parts = [np.asarray(image[layer], np.float32) for layer in names]
            widths[:] = [part.shape[1] for part in parts]
            return np.concatenate(parts, axis=1)

        budget, seed = config.sample_size, config.random_state
        sample = sample_features(features, stacked, progress, budget=budget, seed=seed)
        parts = dict(zip(names, np.split(sample.vectors, np.cumsum(widths)[:-1], axis=1), strict=True))
        tokens = stack_layers([parts[layer] for layer in config.layers])
        self.normalizer_ = VectorNormalizer(whiten=config.whiten).fit(tokens)
        cut_by = dict.fromkeys(layer for layer, _ in config.cuts)
        self.cut_normalizers_ = {
            layer: VectorNormalizer(whiten=CUT_COMPONENTS).fit(parts[layer])
            for layer in cut_by
            if layer != STACK
        }
        if STACK in cut_by:  # the covariance of many thousand stacked tokens takes seconds: once is enough
            enough = config.whiten >= CUT_COMPONENTS
            stack = self.normalizer_ if enough else VectorNormalizer(whiten=CUT_COMPONENTS).fit(tokens)
            self.cut_normalizers_[STACK] = stack.first(CUT_COMPONENTS)
        self.levels_ = None
        if self._foreground_weight:
            cue = LightClusterConfig(random_state=config.random_state)
            step = -(-len(sample.vectors) // cue.sample_size)
            thinned = replace(
                sample,
                vectors=parts[config.cue][::step],
                image=sample.image[::step],
                border=sample.border[::step],
            )
            self.levels_ = Levels.fit(thinned, len(features), cue, self.n_jobs, lambda: None)
        return self

    def collect_regions(self, features: FeatureSource, progress: Progress) -> RegionTable:
        """Cut a bounded subset of the images into regions, in worker processes."""
        config = self.config
        keep = min(1.0, config.max_images / max(1, len(features)))
        n_images = min(len(features), config.max_images)
        n_patches = -(-config.head_patches // max(1, n_images))
        regions = RegionTable(len(config.cuts) + (config.cue_regions > 0))
        passed_over: ImageFeatures | None = None
        with progress.stage("regions", total=len(features)) as stage:
            for chunk in batched(features, CHUNK):
                stage.update(len(chunk))
                tasks = []
                for image in chunk:
                    rng = image_rng(config.random_state + 1, image.digest)
                    if rng.random() <= keep:
                        tasks.append((self.levels_, self._task(image, n_patches)))
                    else:
                        passed_over = passed_over or image
                for cut in parallel_map(cut_image, tasks, self.n_jobs):
                    regions.add(cut)
        if not regions.descriptors and passed_over is not None:
            regions.add(cut_image(self.levels_, self._task(passed_over, n_patches)))
        return regions

    def _task(self, image: ImageFeatures, n_patches: int) -> CutTask:
        """Gather what a worker needs to cut one image."""
        config = self.config
        cuts = [(self._cut_vectors(image, layer), number) for layer, number in config.cuts]
        if config.cue_regions:
            cuts.append((l2_normalize(image[config.cue]), config.cue_regions))
        return CutTask(
            tokens=self._tokens(image),
            cuts=cuts,
            cue=np.asarray(image[config.cue]) if self.levels_ is not None else None,
            cls=np.asarray(image["cls"]),
            grid=image.grid,
            digest=image.digest,
            n_patches=n_patches,
            seed=int(image_rng(config.random_state, image.digest).integers(2**31)),
        )

    def _tokens(self, image: ImageFeatures) -> np.ndarray:
        """Return the (h*w, D) float32 stacked tokens of an image."""
        return stack_layers([image[layer] for layer in self.config.layers])

    def _cut_vectors(self, image: ImageFeatures, layer: str) -> np.ndarray:
        """Return the (h*w, d) float32 whitened, blurred unit vectors that an image is cut by."""
        tokens = self._tokens(image) if layer == STACK else image[layer]
        with one_thread():
            vectors = self.cut_normalizers_[layer].transform(tokens)
        return blur_patches(vectors, image.grid, self.config.blur)

    def _cluster(self, regions: RegionTable) -> np.ndarray:
        """Build the graph, keep what is needed to cut it again, and return the clusters of its landmarks."""
        config = self.config
        descriptors = regions.join_descriptors()
        spectral, self.region_normalizer_ = cluster_regions(
            descriptors,
            np.concatenate(regions.foreground),
            config.n_classes,
            whiten=config.graph_whiten,
            foreground_weight=self._foreground_weight,
            neighbours=self._neighbours(min(len(descriptors), config.max_landmarks), regions.n_cuts),
            max_landmarks=config.max_landmarks,
            random_state=config.random_state,
        )
        rows = spectral.landmark_rows_
        owners = np.concatenate(regions.owners)[rows]
        self.graph_ = RegionGraph(
            np.ascontiguousarray(spectral.embedding_),  # as it is loaded: sums depend on the order in memory
            spectral.eigenvalues_,
            spectral.voters_.astype(np.int32),
            self.region_normalizer_.transform(descriptors[rows]).astype(np.float16),
            owners,
            *links_between_images(spectral.graph_, owners),
            np.concatenate(regions.region_of_patch).astype(np.int32),
            self._head_vectors(np.concatenate(regions.patches)).astype(np.float16),
        )
        return spectral.landmark_labels_

    def _neighbours(self, n_regions: int, n_cuts: int) -> int:
        """Return how many neighbours a region has in the graph: no more than half the regions of a class."""
        k = self.config.n_classes
        limit = n_regions // (2 * (AUTO_GUESS if k == "auto" else k))
        return max(5, min(self.config.neighbours * n_cuts, limit))

    def _fit_head(self, clusters: np.ndarray) -> None:
        """Teach the head the classes that most cuts give a patch, weighted by their agreement.

        Classes are numbered by falling area, so that ids are stable under relabelling of the clusters.
        """
        votes = self.graph_.votes(clusters)
        order = np.argsort(-votes.sum(0), kind="stable")
        votes = votes[:, order]
        self._bear_witness(np.argsort(order)[clusters].astype(np.int32))
        self.head_ = SoftmaxHead(self.config.regularization).fit(
            self.graph_.patches, votes.argmax(1), votes.shape[1], sample_weight=votes.max(1)
        )

    def _bear_witness(self, clusters: np.ndarray) -> None:
        """Keep the (m,) classes of the landmarks, and what the agreement of every image needs of them."""
        self.clusters_ = clusters
        self._witnesses = self.graph_.witnesses(clusters)
        self._cohesion = cohesion(self.graph_.links, self.graph_.link_weights, clusters)

    def _recut(self, n_classes: int) -> Mosaic:
        """Cut the same graph anew; K is at most the number of eigenvectors that were kept, 61 or K + 1."""
        other = Mosaic(**{**self.get_params(), "n_classes": n_classes})
        other.normalizer_, other.cut_normalizers_ = self.normalizer_, self.cut_normalizers_
        other.graph_, other.region_normalizer_ = self.graph_, self.region_normalizer_
        other._fit_head(self.graph_.cut(n_classes))
        return other

    # ------------------------------------------------------------------ one image

    def _predict(self, image: ImageFeatures) -> LabelScores:
        """Label one image at patch resolution, with the classes that win somewhere.

        The (L, h, w) scores are probabilities of the head, scaled to sum to 1 over those classes.
        """
        tokens = self._tokens(image)
        with one_thread():
            probability = self._spread(self._by_head(tokens), tokens)
            present, descriptors, _ = pool_regions(tokens, probability.argmax(1))
            segments = self.region_normalizer_.transform(descriptors)
        scores = probability[:, present].T.reshape(len(present), *image.grid)
        agreement = self._agreement(segments, present, owner_of(image.digest))
        return LabelScores(1 + present, np.ascontiguousarray(scores / scores.sum(0)), agreement=agreement)

    def _agreement(self, segments: np.ndarray, classes: np.ndarray, owner: int) -> np.ndarray | None:
        """Return how far the landmarks of other images bear (L, d) whitened segments out, in [0, 1].

        That is the geometric mean of :meth:`~fiftyone_plugin.clustering.agreement.Witnesses.agreement` and of
        the cohesion of the class: of classes that blend into others, good segments are rarer.
        """
        if self._witnesses is None:
            return None
        nearness = self._witnesses.agreement(segments, classes, owner, ASKED)
        return None if nearness is None else np.asarray(np.sqrt(nearness * self._cohesion[classes]))

    def _by_head(self, tokens: np.ndarray) -> np.ndarray:
        """Return the (n, K) float32 probabilities that the head gives (n, D) stacked tokens."""
        return self.head_.predict_proba(self._head_vectors(tokens))

    def _spread(self, probability: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Share the (n, K) probabilities among similar patches of the image, where that is asked for."""
        if not self.config.spread:
            return probability
        present = np.unique(probability.argmax(1))  # few of K, and the others cannot win
        spread = np.zeros_like(probability)
        spread[:, present] = spread_scores(probability[:, present], l2_normalize(tokens))
        return spread

    def _head_vectors(self, tokens: np.ndarray) -> np.ndarray:
        """Whiten (n, D) stacked tokens; scaled to a variance of about 1, as the head's C expects."""
        with one_thread():
            vectors = self.normalizer_.transform(tokens)
        return np.asarray(vectors * np.float32(np.sqrt(vectors.shape[1])))

    def _explain(self, image: ImageFeatures) -> list[Panel]:
        tokens = self._tokens(image)
        head = self._by_head(tokens)
        panels = []
        seed = int(image_rng(self.config.random_state, image.digest).integers(2**31))
        for layer, number in self.config.cuts:
            labels = cut_labels(self._cut_vectors(image, layer), number, seed)
            panels.append(Panel(f"{labels.max() + 1} regions by {layer}", _grid(1 + labels, image), "labels"))
        panels.append(Panel("confidence of the head", _grid(head.max(1), image), "heat"))
        panels.append(Panel("classes by the head", _grid(1 + head.argmax(1), image), "labels"))
        if self.config.spread:
            spread = self._spread(head, tokens).argmax(1)
            panels.append(Panel("spread in the image", _grid(1 + spread, image), "labels"))
        return panels

    # ------------------------------------------------------------------ saving

    def _get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        arrays = {f"features.{k}": v for k, v in normalizer_arrays(self.normalizer_).items()}
        for layer, normalizer in self.cut_normalizers_.items():
            arrays |= {f"cut.{layer}.{k}": v for k, v in normalizer_arrays(normalizer).items()}
        arrays |= {"head.weight": self.head_.weight_, "head.bias": self.head_.bias_}
        arrays |= {f"graph.{k}": v for k, v in self.graph_.arrays().items()}
        arrays |= {f"regions.{k}": v for k, v in normalizer_arrays(self.region_normalizer_).items()}
        arrays["clusters"] = self.clusters_
        return {"n_classes": self.n_classes_}, arrays

    def _set_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        saved = SavedArrays(arrays)
        self.normalizer_ = saved.below("features.").normalizer()
        self.cut_normalizers_ = {
            layer: saved.below(f"cut.{layer}.").normalizer() for layer, _ in self.config.cuts
        }
        self.head_ = SoftmaxHead(self.config.regularization)
        self.head_.weight_ = saved.floats("head.weight", self.normalizer_.dim_, None)
        self.head_.bias_ = saved.floats("head.bias", self.head_.weight_.shape[1])
        saved.require_ids(self.n_classes_)
        self.region_normalizer_ = saved.below("regions.").normalizer()
        self.graph_ = RegionGraph.restore(
            saved.below("graph."), self.region_normalizer_.dim_, self.normalizer_.dim_
        )
        regions = len(self.graph_.vectors)
        self._bear_witness(saved.indices("clusters", regions, below=self.n_classes_))


def _grid(values: np.ndarray, image: ImageFeatures) -> np.ndarray:
    return values.reshape(image.grid)
