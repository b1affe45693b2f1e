"""AlignSeg: a small decoder with learnable prototypes, trained without labels on frozen features.

After Liu, Zeng, Tao, Fang, AlignSeg (TPAMI 2024, doi 10.1109/TPAMI.2024.3432326) and the authors' public code
(MIT). The decoder finds up to Q regions in an image; which regions of different images are the same category
is decided by a second stage that is not part of the publication, see
:class:`~fiftyone_plugin.clustering.region_classes.RegionClasses`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from ...clustering.normalize import VectorNormalizer, normalizer_arrays
from ...clustering.region_classes import RegionClasses, pool_regions, stack_layers
from ...common.progress import Progress
from ...features.sampling import image_rng
from ...features.types import FeatureSource, ImageFeatures
from ...images.drawing import Panel
from ...masks.scores import LabelScores
from ..base import SegmentationMethod, State, sample_features
from ..limits import tell_clustering, tell_part
from ..remembered import warn_fewer_classes
from ..saved import SavedArrays
from .config import AlignSegConfig
from .crops import attention_foreground
from .tokens import TokenEmbedding, collect_images

if TYPE_CHECKING:
    from .model import Decoder
    from .training import Trainer

__all__ = ["AlignSeg"]

MAX_REGIONS_FOR_FIT = 50_000
WIDTH, HEIGHT, MARGIN = 480, 320, 16  # of the curve of the loss


class AlignSeg(SegmentationMethod[AlignSegConfig]):
    """Regions by adaptive prototypes, classes by clustering the regions.

    With a ``work_dir``, an interrupted training leaves a checkpoint there, and goes on from one that was made
    with the same settings and images, to the same weights.

    Attributes:
        losses_: (steps, 3) float64: total, image alignment, prototype alignment.
    """

    name = "alignseg"
    config_class = AlignSegConfig

    tokens_: TokenEmbedding
    decoder_: Decoder
    classes_: RegionClasses
    losses_: np.ndarray

    def _parts(self) -> tuple[type[Decoder], type[Trainer]]:
        """Return the classes of decoder and trainer; torch is imported here."""
        from .model import Decoder
        from .training import Trainer

        return Decoder, Trainer

    @property
    def inputs(self) -> tuple[str, ...]:
        """Layers to extract."""
        config = self.config
        cue = ("attn",) if self._uses_attention else ()
        return tuple(dict.fromkeys([*config.token_layers, *config.class_layers, "cls", *cue]))

    @property
    def _uses_attention(self) -> bool:
        return self.config.attention < 1

    # ------------------------------------------------------------------ fitting

    def _fit(self, features: FeatureSource, progress: Progress) -> None:
        """Train the decoder, then cluster the regions it finds into classes."""
        self.fit_regions(features, progress=progress)
        descriptors, area = self._describe_all(features, progress)
        with progress.stage("classes", total=1, unit="fit") as stage:
            self._fit_classes(descriptors, area)
            stage.update()

    def fit_regions(self, features: FeatureSource, *, progress: Progress) -> AlignSeg:
        """Train the decoder alone; enough for :meth:`regions`."""
        from .training import identify, initial_decoder, make_crops

        config = self.config
        sample = sample_features(
            features,
            lambda image: stack_layers([image[name] for name in config.token_layers]),
            progress,
            budget=config.sample_size,
            seed=config.random_state,
        )
        normalizer = VectorNormalizer(config.center, config.whiten).fit(sample.vectors)
        self.tokens_ = self._embedding(normalizer)
        tell_part(config.max_images / max(1, len(features)), len(features), "regions are learnt from tokens")
        with progress.stage("crops", total=len(features)) as stage:
            images = collect_images(
                features,
                len(features),
                self.tokens_ if config.crops == "tokens" else None,
                attention=self._uses_attention,
                max_images=config.max_images,
                seed=config.random_state + 1,
                advance=stage.update,
            )
        decoder_kind, trainer_kind = self._parts()
        trainer = trainer_kind(
            initial_decoder(decoder_kind, config, normalizer.transform(sample.vectors)),
            config,
            device=self.device,
            checkpoint=self.work_dir / "training.pt" if self.work_dir is not None else None,
            identity=identify(config, self.device, images),
        )
        self.decoder_, self.losses_ = trainer.train(make_crops(config, self.tokens_, images), progress)
        return self

    def _embedding(self, normalizer: VectorNormalizer) -> TokenEmbedding:
        return TokenEmbedding(self.config.token_layers, self.config.smooth, normalizer)

    def _describe_all(self, features: FeatureSource, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
        """Return descriptors (n, D) float32 and areas (n,) of a bounded sample of all images' regions."""
        config = self.config
        keep = MAX_REGIONS_FOR_FIT / (config.n_prototypes * max(1, len(features)))
        descriptors: list[np.ndarray] = []
        areas: list[np.ndarray] = []
        tell_part(keep, len(features), "classes are learnt from the regions")
        with progress.stage("regions", total=len(features)) as stage:
            for image in features:
                stage.update()
                if image_rng(config.random_state + 2, image.digest).random() < keep:
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
        stacked = stack_layers([image[name] for name in self.config.class_layers])
        return pool_regions(stacked, regions.ravel())

    def _fit_classes(self, descriptors: np.ndarray, area: np.ndarray) -> None:
        config = self.config
        tell_clustering(config.class_clustering, len(descriptors), "regions")
        self.classes_ = RegionClasses(
            config.n_classes,
            whiten=config.class_whiten,
            clustering=config.class_clustering,
            n_init=config.n_init,
            random_state=config.random_state,
        ).fit(descriptors, area=area)
        warn_fewer_classes(config.n_classes, self.classes_.n_classes_, "regions")

    @property
    def n_classes_(self) -> int:
        """Number of labels that masks may have: the classes found, or Q where regions are asked for."""
        if self.config.output == "regions":
            return self.config.n_prototypes
        return self.classes_.n_classes_

    # ------------------------------------------------------------------ one image

    def tokens(self, image: ImageFeatures) -> np.ndarray:
        """Return the (h*w, D) float32 tokens that the decoder sees, all of norm sqrt(D)."""
        return self.tokens_.embed(image.layers)

    def similarity(self, image: ImageFeatures) -> np.ndarray:
        """Return the (Q, h, w) float32 cosines of tokens to the adaptive prototypes of an image."""
        import torch

        from .model import adapt, cosine, single_thread

        tokens = torch.from_numpy(self.tokens(image))[None]
        with torch.inference_mode(), single_thread():
            adapted = adapt(self.decoder_(tokens), tokens, self.config.adapt_steps)
            similarity = cosine(adapted, tokens)[0]
        return similarity.numpy().reshape(-1, *image.grid)

    def regions(self, image: ImageFeatures) -> np.ndarray:
        """Return the (h, w) int map of an image's regions at patch resolution, numbered 1..Q by prototype."""
        return np.asarray(1 + self._without_small(self.similarity(image)).argmax(0))

    def _without_small(self, similarity: np.ndarray) -> np.ndarray:
        """Return (Q, h, w) similarities in which prototypes with too few patches cannot win.

        The smallest goes first, as its patches may make others large enough.
        """
        similarity = similarity.copy()
        least = min(self.config.min_patches, similarity[0].size)
        while True:
            area = np.bincount(similarity.argmax(0).ravel(), minlength=len(similarity))
            small = np.flatnonzero((area > 0) & (area < least))
            if len(small) == 0 or (area > 0).sum() == 1:
                return similarity
            similarity[small[area[small].argmin()]] = -2.0  # below any cosine

    def _predict(self, image: ImageFeatures) -> LabelScores:
        """Label one image at patch resolution; a class has the sum of its regions' scores."""
        regions = self.region_scores(image)
        if self.config.output == "regions":
            return regions
        _, descriptors, _ = self._describe(image, regions.scores.argmax(0))
        class_of_region = self.classes_.predict(descriptors)
        labels = np.unique(class_of_region)
        return LabelScores(labels, np.stack([regions.scores[class_of_region == k].sum(0) for k in labels]))

    def region_scores(self, image: ImageFeatures) -> LabelScores:
        """Return soft regions at patch resolution: softmax over the prototypes that keep any patch.

        Labels are those of :meth:`regions`.
        """
        similarity = self._without_small(self.similarity(image))
        present = np.unique(similarity.argmax(0))
        logits = similarity[present] / self.config.score_temperature
        probability = np.exp(logits - logits.max(0))
        return LabelScores(1 + present.astype(np.int64), probability / probability.sum(0))

    def _explain(self, image: ImageFeatures) -> list[Panel]:
        """Show the loss, the foreground of the attention if used, the prototypes and the regions."""
        panels = [Panel(f"loss, {len(self.losses_)} steps", draw_curve(self.losses_[:, 0]), "photo")]
        if self._uses_attention:
            mass = self.config.attention
            (mask,) = attention_foreground(np.reshape(image["attn"], (1, *image.grid)), mass)
            panels.append(Panel(f"attention, {mass:.0%}", mask.astype(np.int64), "labels"))
        for number, cosines in enumerate(self.similarity(image), start=1):
            panels.append(Panel(f"prototype {number}", cosines, "heat"))
        regions = self.regions(image)
        return [*panels, Panel(f"regions: {len(np.unique(regions))}", regions, "labels")]

    # ------------------------------------------------------------------ saving

    def _get_state(self) -> State:
        arrays = {f"tokens.{k}": v for k, v in normalizer_arrays(self.tokens_.normalizer).items()}
        arrays |= {f"decoder.{k}": v.numpy() for k, v in self.decoder_.state_dict().items()}
        arrays |= {f"classes.{k}": v for k, v in self.classes_.get_arrays().items()}
        arrays["losses"] = self.losses_
        return {"n_classes": self.n_classes_, "steps": len(self.losses_)}, arrays

    def _set_state(self, values: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
        from .training import restore_decoder

        saved = SavedArrays(arrays)
        self.tokens_ = self._embedding(saved.below("tokens.").normalizer())
        dim = self.tokens_.normalizer.dim_
        self.decoder_ = restore_decoder(self._parts()[0], self.config, saved.below("decoder."), dim)
        self.classes_ = saved.below("classes.").region_classes()
        self.losses_ = saved.floats("losses", None, 3)


def draw_curve(values: np.ndarray) -> np.ndarray:
    """Draw (n,) values from left to right: thin as they are, thick as a running mean over a tenth of them.

    Returns:
        (320, 480, 3) uint8.
    """
    picture = Image.new("RGB", (WIDTH, HEIGHT), (250, 250, 250))
    draw = ImageDraw.Draw(picture)
    window = max(1, len(values) // 10)
    mean = np.convolve(values, np.full(window, 1 / window), mode="valid")
    low, high = float(values.min()), float(values.max())
    scale = (HEIGHT - 2 * MARGIN) / max(high - low, 1e-12)
    step = (WIDTH - 2 * MARGIN) / max(1, len(values) - 1)
    for series, colour, width in ((values, (190, 200, 215), 1), (mean, (31, 80, 150), 4)):
        start = len(values) - len(series)
        points = [
            (MARGIN + (start + i) * step, HEIGHT - MARGIN - (v - low) * scale) for i, v in enumerate(series)
        ]
        draw.line(points, fill=colour, width=width)
    return np.asarray(picture)
