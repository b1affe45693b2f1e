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

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from ...clustering.agreement import cohesion
from ...clustering.head import SoftmaxHead
from ...clustering.normalize import DeviceNormalizer, VectorNormalizer, normalizer_arrays
from ...clustering.region_classes import stack_layers
from ...common.checks import Number
from ...common.parallel import Threads, one_thread
from ...common.progress import Progress
from ...errors import ImageReadError, PseudoMaskError, UsageError
from ...features.types import FeatureBatch, FeatureSource, ImageFeatures
from ...images.drawing import Panel
from ...masks.scores import DeviceScores, LabelScores
from ..base import SegmentationMethod, State, sample_features
from ..lightcluster.config import LightClusterConfig
from ..lightcluster.levels import Levels
from ..saved import SavedArrays
from .checkpoint import RegionStore
from .config import STACK, MosaicConfig
from .cutting import CUT_COMPONENTS, Cutting
from .graph import RegionGraph, cluster_regions, foreground_weight, number_of_neighbours
from .labelling import HeadLabelling, Labelling, trusted
from .reduction import DETAIL, Reduced, Reduction, groups_of, image_by_image
from .regions import RegionTable
from .scene import centering
from .thin import add_lines, find_lines

if TYPE_CHECKING:
    import torch

__all__ = ["Mosaic"]


class Mosaic(SegmentationMethod[MosaicConfig]):
    """Regions cut in several ways, clustered over the data set, and a linear head on whitened tokens.

    Attributes:
        n_classes_: classes found.
        thin_: strength from which a pixel is of a line, the last class; ``None`` where no class is that.
        eigenvalues_: smallest eigenvalues of the region graph's Laplacian, the evidence for ``auto``.
    """

    name = "mosaic"
    can_recut = True
    finds_lines: ClassVar[bool] = True
    config_class = MosaicConfig

    normalizer_: VectorNormalizer
    cut_normalizers_: dict[str, VectorNormalizer]
    center_: float
    thin_: float | None
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
    def seen_in_tiles(self) -> int:
        """Tiles along a side of an image in which it is seen besides; 1 for none."""
        return self.config.tiles

    @property
    def _foreground_weight(self) -> float:
        weight = self.config.foreground
        return foreground_weight(self.config.n_classes) if weight == "auto" else weight

    @property
    def n_classes_(self) -> int:
        """Number of classes found by :meth:`fit`."""
        return int(self.head_.bias_.size) + (self.thin_ is not None)

    @property
    def eigenvalues_(self) -> np.ndarray:
        """(E,) ascending eigenvalues of the region graph's Laplacian, none where there were few regions."""
        return self.graph_.eigenvalues

    # ------------------------------------------------------------------ fitting

    def _fit(self, features: FeatureSource, progress: Progress) -> None:
        """Learn whitening, regions, classes and the head: a pass over a part of the stream, one over all."""
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
            parts = [image[layer] for layer in names]
            widths[:] = [part.shape[1] for part in parts]
            return np.concatenate(parts, axis=1)

        budget, seed = config.sample_size, config.random_state
        sample = sample_features(features.opening(), stacked, progress, budget=budget, seed=seed)
        parts = dict(zip(names, np.split(sample.vectors, np.cumsum(widths)[:-1], axis=1), strict=True))
        stack = stack_layers([parts[layer] for layer in config.layers])
        self.normalizer_ = VectorNormalizer(whiten=config.whiten + DETAIL).fit(stack)
        self.cut_normalizers_ = {
            layer: VectorNormalizer(whiten=CUT_COMPONENTS).fit(parts[layer])
            for layer in dict.fromkeys(layer for layer, _ in config.cuts)
            if layer != STACK
        }
        tokens, wanted = parts[config.layers[-1]], self.finds_lines and config.thin and config.n_classes != 1
        self.thin_ = find_lines(features, tokens, sample.image, self.device) if wanted else None
        self.center_ = centering(sample.cls) if config.center == "auto" else config.center
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
            self.levels_ = Levels.fit(thinned, len(features), cue, 1, lambda: None)
        return self

    def collect_regions(self, features: FeatureSource, progress: Progress) -> RegionTable:
        """Cut the images into regions; what labels them later without the network stays in their memos.

        With a ``work_dir``, regions of images that an interrupted fit has cut already are taken from there.

        Raises:
            PseudoMaskError: not one image could be read.
        """
        reduction = self._reduction(min(self.config.whiten, self.normalizer_.dim_), self.device)
        cutting = Cutting(
            self.config, reduction, self.cut_normalizers_, self.levels_, len(features), self.center_
        )
        kept = RegionStore(self.work_dir, cutting.name)
        seen: list[str] = []
        with progress.stage("regions", total=len(features)) as stage:

            def is_done(digest: str) -> bool:
                seen.append(digest)
                stage.update()
                return digest in kept

            try:
                with Threads() as threads:
                    for batch in features.batches(skip=is_done):
                        regions = threads.each(cutting, list(image_by_image(batch)))
                        for image, own in zip(batch.images, chain.from_iterable(regions), strict=True):
                            kept.add(image.digest, own)
            finally:
                kept.flush()
        found = [kept.found[digest] for digest in seen if digest in kept]  # one may be gone by its turn
        if not found:
            raise PseudoMaskError("no image could be read, so there is nothing to learn from")
        return RegionTable(found)

    def _cluster(self, regions: RegionTable) -> np.ndarray:
        """Build the graph, keep what is needed to cut it again, and return the clusters of its landmarks."""
        config, descriptors, sought = self.config, regions.descriptors, self.config.n_classes
        if sought != "auto" and self.thin_ is not None:
            sought = max(1, sought - 1)
        spectral, self.region_normalizer_ = cluster_regions(
            descriptors,
            regions.foreground,
            sought,
            whiten=config.graph_whiten,
            foreground_weight=self._foreground_weight,
            neighbours=number_of_neighbours(config, len(descriptors), regions.region_of_patch.shape[1]),
            max_landmarks=config.max_landmarks,
            random_state=config.random_state,
            device=self.device,
        )
        self.graph_ = RegionGraph.of(spectral, self.region_normalizer_, regions)
        return spectral.landmark_labels_

    def _fit_head(self, clusters: np.ndarray) -> None:
        """Teach the head the classes that most cuts give a patch, weighted by their agreement.

        Classes are numbered by falling area, so that ids are stable under relabelling of the clusters.
        """
        votes = self.graph_.votes(clusters)
        order = np.argsort(-votes.sum(0), kind="stable")
        votes = votes[:, order]
        self._bear_witness(np.argsort(order)[clusters].astype(np.int32))
        self.head_ = SoftmaxHead(self.config.regularization, device=self.device).fit(
            self.graph_.patches, votes.argmax(1), votes.shape[1], sample_weight=votes.max(1)
        )

    def _bear_witness(self, clusters: np.ndarray) -> None:
        """Keep the (m,) classes of the landmarks, and forget what was derived from others."""
        self.clusters_ = clusters
        self._labelling: dict[str, HeadLabelling] = {}

    def cluster_means(self) -> np.ndarray | None:
        """Return (K, E) unit rows, one a cluster: alike where clusters are; ``None`` without a graph."""
        return self.graph_.cluster_means(self.clusters_)

    def _recut(self, n_classes: int) -> Mosaic:
        """Cut the same graph anew; K is at most the number of eigenvectors that were kept, 61 or K + 1."""
        other = Mosaic(**{**self.get_params(), "n_classes": n_classes})
        self._share_with(other)
        other.thin_ = self.thin_ if n_classes > 1 else None
        other._fit_head(self.graph_.cut(n_classes - (other.thin_ is not None)))
        return other

    def _share_with(self, other: Mosaic) -> None:
        """Give another method what was learnt before the classes."""
        for name in ("device", "center_", "normalizer_", "cut_normalizers_", "region_normalizer_", "graph_"):
            setattr(other, name, getattr(self, name))

    # ------------------------------------------------------------------ labelling

    def predict_batch(self, batch: FeatureBatch) -> list[DeviceScores | ImageReadError]:
        """Label several images on their device."""
        self._require_fitted()
        found: list[DeviceScores | ImageReadError] = []
        for part in image_by_image(batch):
            with one_thread():
                labelling = self._labelling_on(str(part.tensors[self.config.layers[0]].device))
                reduction = labelling.reduction
                reduced = reduction(reduction.whiten(reduction.stacked(part.tensors)))
                found += self._with_lines(labelling(reduced, part.images), part.images)
        return found

    def _with_lines(
        self, scores: Sequence[DeviceScores], images: Sequence[ImageFeatures]
    ) -> Sequence[DeviceScores | ImageReadError]:
        """Add the class of thin lines, where there is one; an image that has gone leaves its error."""
        if self.thin_ is None:
            return scores
        found: list[DeviceScores | ImageReadError] = []
        for one, image in zip(scores, images, strict=True):
            try:
                found.append(add_lines(one, image.read_image(), self.thin_, self.n_classes_))
            except ImageReadError as error:  # noqa: PERF203 - one bad image must not end the run
                found.append(error)
        return found

    def predict_kept(self, images: list[ImageFeatures]) -> list[DeviceScores | None]:
        """Label images from what the fit has left in their ``memo``; on a CPU the same to the byte."""
        self._require_fitted()
        labelling = self._labelling_on(self.device)
        reduction = labelling.reduction
        found: list[DeviceScores | None] = [None] * len(images)
        every = {i: reduction.kept_of(image) for i, image in enumerate(images)}
        kept = {i: arrays for i, arrays in every.items() if arrays is not None}
        for rows in groups_of(list(kept), self.device):
            with one_thread():
                reduced = Reduced.of([kept[i] for i in rows], self.device)
                some = [images[i] for i in rows]
                for i, scores in zip(rows, self._with_lines(labelling(reduced, some), some), strict=True):
                    found[i] = scores if isinstance(scores, DeviceScores) else None
        return found

    @property
    def kept_name(self) -> str:
        """Name of the reduced tokens in the memos of images."""
        return self._labelling_on(self.device).reduction.name

    def _predict(self, image: ImageFeatures) -> LabelScores:
        """Label one image at patch resolution, with the classes that win somewhere."""
        (scores,) = self.predict_batch(self._batch_of(image))
        if isinstance(scores, ImageReadError):
            raise scores
        return scores.to_numpy()

    def _batch_of(self, image: ImageFeatures) -> FeatureBatch:
        """Return one image as a batch on the device of the method."""
        import torch

        layers = {layer: np.array(image[layer]) for layer in self.inputs if layer in image.layers}
        tensors = {layer: torch.from_numpy(array)[None].to(self.device) for layer, array in layers.items()}
        return FeatureBatch([image], tensors)

    def _labelling_on(self, device: str) -> HeadLabelling:
        """Return what labels on a device, which is made once."""
        if device not in self._labelling:
            self._labelling[device] = self._make_labelling(self._reduction(len(self.head_.weight_), device))
        return self._labelling[device]

    def _make_labelling(self, reduction: Reduction) -> HeadLabelling:
        """Bring what was learnt to the device of the reduction."""
        witnesses = self.graph_.witnesses(self.clusters_, reduction.device)
        held = cohesion(self.graph_.links, self.graph_.link_weights, self.clusters_)
        return Labelling(
            reduction,
            reduction.sent(self.head_.weight_),
            reduction.sent(self.head_.bias_),
            self.config.spread,
            DeviceNormalizer(self.region_normalizer_, reduction.device),
            witnesses,
            trusted(witnesses, reduction.sent(held)),
            self.center_,
        )

    def _reduction(self, n_head: int, device: str) -> Reduction:
        return Reduction(self.normalizer_, n_head, self.config.layers, device)

    def _explain(self, image: ImageFeatures) -> list[Panel]:
        """Show the cuts of an image, the head's confidence and classes, and the classes after spreading."""
        labelling, batch = self._labelling_on(self.device), self._batch_of(image)
        reduction, panels = labelling.reduction, []

        def add(title: str, values: torch.Tensor, kind: Literal["labels", "heat"] = "labels") -> None:
            panels.append(Panel(title, values.reshape(image.grid).cpu().numpy(), kind))

        with one_thread():
            whitened = reduction.whiten(reduction.stacked(batch.tensors))
            reduced = reduction(whitened)
            cutting = Cutting(self.config, reduction, self.cut_normalizers_, None, 1, 0.0)
            cuts = cutting.cut(batch.tensors, whitened, batch.images)
            for (layer, _), labels in zip(self.config.cuts, cuts, strict=False):
                add(f"{len(np.unique(labels.cpu().numpy()))} regions by {layer}", 1 + labels)
            head = labelling.by_head(reduced)
            add("confidence of the head", head.amax(2), "heat")
            add("classes by the head", 1 + head.argmax(2))
            if self.config.spread:
                present, scores = labelling.winners(reduced)
                add("spread in the image", 1 + present.gather(1, scores.argmax(2)))
        return panels

    # ------------------------------------------------------------------ saving

    def _get_state(self) -> State:
        arrays = {f"features.{k}": v for k, v in normalizer_arrays(self.normalizer_).items()}
        for layer, normalizer in self.cut_normalizers_.items():
            arrays |= {f"cut.{layer}.{k}": v for k, v in normalizer_arrays(normalizer).items()}
        arrays |= {"head.weight": self.head_.weight_, "head.bias": self.head_.bias_}
        arrays |= {f"graph.{k}": v for k, v in vars(self.graph_).items()}
        arrays |= {f"regions.{k}": v for k, v in normalizer_arrays(self.region_normalizer_).items()}
        arrays["clusters"] = self.clusters_
        return {"n_classes": self.n_classes_, "center": self.center_, "thin": self.thin_}, arrays

    def _set_state(self, values: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
        saved = SavedArrays(arrays)
        center = values.get("center", 0.0)  # models of earlier versions have none
        self.center_ = float(Number(0, 1, whole=False).check("center", center))
        thin = values.get("thin")
        known = thin is not None and self.finds_lines
        self.thin_ = float(Number(1e-6, 1e9, whole=False).check("thin", thin)) if known else None
        self.normalizer_ = saved.below("features.").normalizer()
        self.cut_normalizers_ = {
            layer: saved.below(f"cut.{layer}.").normalizer()
            for layer, _ in self.config.cuts
            if layer != STACK
        }
        self.head_ = SoftmaxHead(self.config.regularization)
        self.head_.weight_ = saved.floats("head.weight", None, None)
        d = len(self.head_.weight_)
        if not 1 <= d <= self.normalizer_.dim_:
            raise UsageError(f"its head reads {d} components, of which there are {self.normalizer_.dim_}")
        self.head_.bias_ = saved.floats("head.bias", self.head_.weight_.shape[1])
        saved.require_ids(self.n_classes_)
        self.region_normalizer_ = saved.below("regions.").normalizer()
        self.graph_ = RegionGraph.restore(saved.below("graph."), self.region_normalizer_.dim_, d)
        regions = len(self.graph_.vectors)
        self._bear_witness(saved.indices("clusters", regions, below=len(self.head_.bias_)))
