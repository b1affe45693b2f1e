"""AlignSeg: a small decoder with learnable prototypes, trained without labels on frozen features.

After Liu, Zeng, Tao, Fang, AlignSeg (TPAMI 2024, doi 10.1109/TPAMI.2024.3432326) and the authors' public code
(MIT). The decoder finds up to Q regions in an image; which regions of different images are the same category
is decided by a second stage that is not part of the publication, see
:class:`~fiftyone_plugin.clustering.region_classes.RegionClasses`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...clustering.normalize import VectorNormalizer, normalizer_arrays
from ...clustering.region_classes import RegionClasses, pool_regions, stack_layers
from ...common.progress import NullProgress, Progress
from ...errors import PseudoMaskError
from ...features.sampling import image_rng, sample_patches
from ...features.types import FeatureSource, ImageFeatures
from ...images.drawing import Panel
from ...masks.scores import LabelScores
from ..saved import SavedArrays
from .config import check_config
from .panels import stage_panels
from .tokens import TokenEmbedding, collect_images

__all__ = ["AlignSeg"]

logger = logging.getLogger(__name__)

MAX_REGIONS_FOR_FIT = 50_000


class AlignSeg:
    """Regions by adaptive prototypes, classes by clustering the regions.

    docs/alignseg.md says which values are the published ones, and what each change is worth.

    Args:
        n_classes: K, number of classes to cluster the regions into; fewer if there are fewer regions.
        n_prototypes: Q, most regions of an image.
        token_layers: patch features of decoder and losses, each L2-normalised, concatenated.
        center: subtract the mean token of the data set.
        whiten: PCA components kept and whitened, ``None`` for none.
        smooth: sigma in patches of a Gaussian blur of the tokens.
        n_layers: decoder layers.
        chained: every layer works on the output of the one before; ``False`` as released, where only the last
            layer counts.
        n_heads: attention heads, a divisor of the number of token dimensions.
        hidden: width of the decoder's FFN, ``None`` for twice the token dimensions.
        prototypes: initial values: ``random``, N(0, 1), or ``kmeans`` over a sample of tokens.
        crops: ``tokens`` cuts crops out of the token grid of the whole image, ``pixels`` runs every crop
            through the backbone.
        crop_order: ``released`` mixes local crops up across images, as the released code does.
        crop_size: side of pixel crops; a multiple of the patch size.
        crop_tokens: patches on each side of a crop made of tokens.
        n_local: local crops of an image.
        attention: share of the CLS attention that the training's foreground holds; 1 trains on all patches,
            and needs no attention.
        pressure: correlation above which two patches attract each other.
        keep_mean: as published, the mean correlation of a batch counts against ``pressure``; without it,
            correlations are relative to what is usual in the image.
        temperature: of the assignments to prototypes in training.
        contrast_temperature: of the prototype alignment.
        loss: ``mean`` over pairs, so that batch size and foreground area do not shift the balance of the two
            losses; or ``sum``, as released, with its weight of 0.15.
        alignment_weight: weight of the image alignment where ``loss`` is ``mean``.
        steps: training steps.
        batch_size: images a step.
        learning_rate: of AdamW, halved every three tenths of the steps.
        weight_decay: of matrices other than the prototypes.
        patience: training ends early when the mean loss of this many steps is no lower than that of as many
            before; ``None`` for never.
        checkpoint_every: steps between checkpoints.
        max_images: images whose tokens are kept in memory for training; of more, about this many are drawn.
        sample_size: patches that mean, whitening and ``kmeans`` prototypes are fitted on.
        adapt_steps: steps of soft k-means on the image's tokens that the adaptive prototypes take after the
            decoder; 0 as published.
        min_patches: regions with fewer patches are given to the regions next best.
        score_temperature: softness of the scores that are up-sampled and refined.
        class_layers: patch features that describe regions.
        class_whiten: PCA components of region descriptors, ``None`` for no whitening.
        class_clustering: ``kmeans`` or ``spectral``.
        n_init: restarts of k-means over regions.
        output: ``classes`` 1..K of the data set, or ``regions`` 1..Q of each image by itself.
        refine: the run's refinement; this method leaves it to the pipeline.
        random_state: seed.
        n_jobs: worker processes; there is nothing to do for them here.

    Attributes:
        losses_: (steps, 3) float64: total, image alignment, prototype alignment.
        work_dir: folder for checkpoints during :meth:`fit`, ``None`` for no checkpoints.
        device: torch device of the training.
    """

    name = "alignseg"
    has_background = False

    def __init__(
        self,
        n_classes: int = 20,
        *,
        n_prototypes: int = 5,
        token_layers: str | Sequence[str] = "out",
        center: bool = False,
        whiten: int | None = 64,
        smooth: float = 0.7,
        n_layers: int = 3,
        chained: bool = True,
        n_heads: int = 4,
        hidden: int | None = None,
        prototypes: str = "kmeans",
        crops: str = "tokens",
        crop_order: str = "correct",
        crop_size: int = 224,
        crop_tokens: int = 10,
        n_local: int = 2,
        attention: float = 1.0,
        pressure: float = 0.2,
        keep_mean: bool = False,
        temperature: float = 0.1,
        contrast_temperature: float = 1.0,
        loss: str = "mean",
        alignment_weight: float = 10.0,
        steps: int = 200,
        batch_size: int = 16,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.04,
        patience: int | None = 100,
        checkpoint_every: int = 50,
        max_images: int = 512,
        sample_size: int = 32_768,
        adapt_steps: int = 10,
        min_patches: int = 6,
        score_temperature: float = 0.1,
        class_layers: str | Sequence[str] = ("t8", "t9", "t11"),
        class_whiten: int | None = 64,
        class_clustering: str = "spectral",
        n_init: int = 10,
        output: str = "classes",
        refine: str = "crf",
        random_state: int = 0,
        n_jobs: int = 0,
    ) -> None:
        self._config = {k: v for k, v in locals().items() if k not in ("self", "n_jobs")}
        check_config(self._config)
        self.n_classes = self._config["n_classes"]
        self.n_jobs = n_jobs
        self._tokens = TokenEmbedding(self._config["token_layers"], self._config["smooth"])
        self.work_dir: Path | None = None
        self.device = "cpu"

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers to extract."""
        config = self._config
        cue = ["attn"] if self._uses_attention else []
        return tuple(dict.fromkeys([*config["token_layers"], *config["class_layers"], "cls", *cue]))

    @property
    def _uses_attention(self) -> bool:
        return self._config["attention"] < 1

    # ------------------------------------------------------------------ fitting

    def fit(self, features: FeatureSource, *, progress: Progress | None = None) -> AlignSeg:
        """Train the decoder, then cluster the regions it finds into classes.

        With :attr:`work_dir`, an interrupted training leaves a checkpoint there. It goes on from one that was
        made with the same settings and images, to the same weights.

        Raises:
            PseudoMaskError: the source yields no image, or the training diverges.
        """
        progress = progress or NullProgress()
        self.fit_regions(features, progress=progress)
        descriptors, area = self._describe_all(features, progress)
        with progress.stage("classes", total=1, unit="fit") as stage:
            self._fit_classes(descriptors, area)
            stage.update()
        return self

    def fit_regions(self, features: FeatureSource, *, progress: Progress) -> AlignSeg:
        """Train the decoder alone; enough for :meth:`regions`."""
        from .fit import initial_decoder, train_decoder

        config = self._config
        with progress.stage("sample", total=len(features)) as stage:
            sample = sample_patches(
                features,
                len(features),
                lambda image: self._tokens.stack(image.layers),
                budget=config["sample_size"],
                seed=config["random_state"],
                advance=stage.update,
            )
        if len(sample.vectors) == 0:
            raise PseudoMaskError("no image could be read, so there is nothing to learn from")
        self._tokens.normalizer = VectorNormalizer(config["center"], config["whiten"]).fit(sample.vectors)
        with progress.stage("crops", total=len(features)) as stage:
            images = collect_images(
                features,
                len(features),
                self._tokens if config["crops"] == "tokens" else None,
                attention=self._uses_attention,
                max_images=config["max_images"],
                seed=config["random_state"] + 1,
                advance=stage.update,
            )
        decoder = initial_decoder(config, self._tokens.normalizer.transform(sample.vectors))
        self._decoder, self.losses_ = train_decoder(
            decoder,
            config,
            self._tokens,
            images,
            device=self.device,
            work_dir=self.work_dir,
            progress=progress,
        )
        return self

    def _describe_all(self, features: FeatureSource, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
        """Return descriptors (n, D) float32 and areas (n,) of a bounded sample of all images' regions."""
        config = self._config
        keep = MAX_REGIONS_FOR_FIT / (config["n_prototypes"] * max(1, len(features)))
        descriptors: list[np.ndarray] = []
        areas: list[np.ndarray] = []
        with progress.stage("regions", total=len(features)) as stage:
            for image in features:
                stage.update()
                if image_rng(config["random_state"] + 2, image.digest).random() < keep:
                    _, described, area = self._describe(image, self.regions(image))
                    descriptors.append(described.astype(np.float16))
                    areas.append(area)
        if not descriptors:
            return np.zeros((0, 1), np.float32), np.zeros(0)
        return np.concatenate(descriptors).astype(np.float32), np.concatenate(areas)

    def _describe(
        self, image: ImageFeatures, regions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ids, descriptors and areas of the regions of an (h, w) map."""
        stacked = stack_layers([image[name] for name in self._config["class_layers"]])
        return pool_regions(stacked, regions.ravel())

    def _fit_classes(self, descriptors: np.ndarray, area: np.ndarray) -> None:
        config = self._config
        self._classes = RegionClasses(
            config["n_classes"],
            whiten=config["class_whiten"],
            clustering=config["class_clustering"],
            n_init=config["n_init"],
            random_state=config["random_state"],
        ).fit(descriptors, area=area)
        if self._classes.n_classes_ < self.n_classes:
            logger.warning(
                "%d classes asked for, but only %d distinct regions were found: using %d classes",
                self.n_classes,
                self._classes.n_classes_,
                self._classes.n_classes_,
            )

    @property
    def n_classes_(self) -> int:
        """Number of labels that masks may have: the classes found, or Q where regions are asked for."""
        if self._config["output"] == "regions":
            return self._config["n_prototypes"]
        return self._classes.n_classes_

    # ------------------------------------------------------------------ one image

    def tokens(self, image: ImageFeatures) -> np.ndarray:
        """Return the (h*w, D) float32 tokens that the decoder sees, all of norm sqrt(D)."""
        return self._tokens.embed(image.layers)

    def similarity(self, image: ImageFeatures) -> np.ndarray:
        """Return the (Q, h, w) float32 cosines of tokens to the adaptive prototypes of an image."""
        import torch

        from .model import adapt, cosine, single_thread

        tokens = torch.from_numpy(self.tokens(image))[None]
        with torch.inference_mode(), single_thread():
            adapted = adapt(self._decoder(tokens), tokens, self._config["adapt_steps"])
            similarity = cosine(adapted, tokens)[0]
        return similarity.numpy().reshape(-1, *image.grid)

    def regions(self, image: ImageFeatures) -> np.ndarray:
        """Return the (h, w) int map of an image's regions at patch resolution, numbered 1..Q by prototype."""
        return 1 + self._without_small(self.similarity(image)).argmax(0)

    def _without_small(self, similarity: np.ndarray) -> np.ndarray:
        """Return (Q, h, w) similarities in which prototypes with too few patches cannot win.

        The smallest goes first, as its patches may make others large enough.
        """
        similarity = similarity.copy()
        least = min(self._config["min_patches"], similarity[0].size)
        while True:
            area = np.bincount(similarity.argmax(0).ravel(), minlength=len(similarity))
            small = np.flatnonzero((area > 0) & (area < least))
            if len(small) == 0 or (area > 0).sum() == 1:
                return similarity
            similarity[small[area[small].argmin()]] = -2.0  # below any cosine

    def prefetch(self, images: list[ImageFeatures]) -> None:
        """Nothing is worth doing for several images at once."""

    def predict(self, features: ImageFeatures) -> LabelScores:
        """Label one image at patch resolution.

        Returns:
            Scores of the classes, or regions, that occur in it; a class has the sum of its regions' scores.
        """
        regions = self.region_scores(features)
        if self._config["output"] == "regions":
            return regions
        _, descriptors, _ = self._describe(features, regions.scores.argmax(0))
        class_of_region = self._classes.predict(descriptors)
        labels = np.unique(class_of_region)
        return LabelScores(labels, np.stack([regions.scores[class_of_region == k].sum(0) for k in labels]))

    def region_scores(self, image: ImageFeatures) -> LabelScores:
        """Return soft regions at patch resolution: softmax over the prototypes that keep any patch.

        Labels are those of :meth:`regions`.
        """
        similarity = self._without_small(self.similarity(image))
        present = np.unique(similarity.argmax(0))
        logits = similarity[present] / self._config["score_temperature"]
        probability = np.exp(logits - logits.max(0))
        return LabelScores(1 + present.astype(np.int64), probability / probability.sum(0))

    def explain(self, image: ImageFeatures) -> list[Panel]:
        """Show the loss, the foreground of the attention if used, the prototypes and the regions."""
        attention = np.asarray(image["attn"]).reshape(image.grid) if self._uses_attention else None
        mass = self._config["attention"]
        return stage_panels(self.losses_, self.similarity(image), self.regions(image), attention, mass)

    # ------------------------------------------------------------------ saving

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments (``n_jobs`` left out: it does not change results)."""
        return dict(self._config)

    def get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return learnt values and arrays, see :class:`~.base.Method`."""
        arrays = {f"tokens.{k}": v for k, v in normalizer_arrays(self._tokens.normalizer).items()}
        arrays |= {f"decoder.{k}": v.numpy() for k, v in self._decoder.state_dict().items()}
        arrays |= {f"classes.{k}": v for k, v in self._classes.get_arrays().items()}
        arrays["losses"] = self.losses_
        return {"n_classes": self.n_classes_, "steps": len(self.losses_)}, arrays

    def set_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Restore what :meth:`get_state` returned.

        Raises:
            KeyError: something is missing.
            UsageError: something does not fit.
        """
        from .fit import restore_decoder

        saved = SavedArrays(arrays)
        self._tokens.normalizer = saved.below("tokens.").normalizer()
        self._decoder = restore_decoder(self._config, saved.below("decoder."), self._tokens.normalizer.dim_)
        self._classes = saved.below("classes.").region_classes()
        self.losses_ = saved.floats("losses", None, 3)
