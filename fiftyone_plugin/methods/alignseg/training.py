"""AlignSeg's training: the decoder, batches of crops, the loop, checkpoints that it goes on from."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ...clustering.kmeans import ReproducibleKMeans
from ...clustering.normalize import l2_normalize
from ...common.files import atomic
from ...common.progress import Progress, annotate
from ...errors import ImageReadError, PseudoMaskError, UsageError
from ...images.reading import resize_image
from ..saved import SavedArrays
from .config import AlignSegConfig
from .crops import attention_foreground, draw_crops, resample_tokens
from .model import Decoder, assignments, contrast_loss, correlation, image_alignment_loss, single_thread
from .tokens import TokenEmbedding, TrainingImage

__all__ = ["CropBatch", "Crops", "Trainer", "identify", "initial_decoder", "make_crops", "restore_decoder"]

logger = logging.getLogger(__name__)

MIN_GAIN = 1e-3  # smallest relative fall of the loss that is no plateau


def build_decoder(kind: type[Decoder], config: AlignSegConfig, dim: int) -> Decoder:
    """Return a decoder for ``dim`` token dimensions, its weights drawn by torch's generator.

    Raises:
        UsageError: the number of heads does not divide them.
    """
    if dim % config.n_heads:
        raise UsageError(f"n_heads must divide the {dim} token dimensions, got {config.n_heads}")
    hidden = config.hidden or 2 * dim
    return kind(dim, config.n_prototypes, n_layers=config.n_layers, n_heads=config.n_heads, hidden=hidden)


def restore_decoder(kind: type[Decoder], config: AlignSegConfig, saved: SavedArrays, dim: int) -> Decoder:
    """Return a decoder for D = ``dim`` with the ``saved`` float32 weights, for evaluation.

    Raises:
        KeyError: a weight is missing.
        UsageError: one does not fit the options.
    """
    # before anything is made of the size that the options name: the file must have as much
    for layer in range(config.n_layers):
        saved.floats(f"layers.{layer}.ffn.0.weight", config.hidden or 2 * dim, dim)
    saved.floats("prototypes", config.n_prototypes, dim)
    decoder = build_decoder(kind, config, dim)
    weights = {name: saved.floats(name, *weight.shape) for name, weight in decoder.state_dict().items()}
    decoder.load_state_dict({name: torch.from_numpy(weight.copy()) for name, weight in weights.items()})
    return decoder.eval()


def initial_decoder(kind: type[Decoder], config: AlignSegConfig, vectors: np.ndarray) -> Decoder:
    """Return the decoder that training starts from, for (n, D) float32 unit tokens of many images.

    Raises:
        UsageError: the number of heads does not divide D.
    """
    dim, seed = vectors.shape[1], config.random_state
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = build_decoder(kind, config, dim)
    if config.prototypes == "kmeans":
        kmeans = ReproducibleKMeans(config.n_prototypes, n_init=3, random_state=seed).fit(vectors)
        centers = l2_normalize(kmeans.cluster_centers_) * np.float32(dim**0.5)
        decoder.prototypes.data[: len(centers)] = torch.from_numpy(centers)
    return decoder


class CropBatch(NamedTuple):
    """Crops of B images.

    Attributes:
        world: (B, n, D) float32 tokens of the global crops.
        local: (B, L, n, D) float32 tokens of the local crops.
        world_mask: (B, n) bool foreground.
        local_mask: (B, L, n) bool foreground.
    """

    world: np.ndarray
    local: np.ndarray
    world_mask: np.ndarray
    local_mask: np.ndarray


class Crops(ABC):
    """Where batches come from: training images, and how they are cropped."""

    def __init__(self, images: list[TrainingImage], config: AlignSegConfig) -> None:
        # by content: training does not depend on names or on the order of the list
        self.images = sorted(images, key=lambda image: image.digest)
        self.config = config

    def batch(self, rng: np.random.Generator, size: int) -> CropBatch:
        """Draw images, without repetition as far as there are enough, and their crops.

        The result follows from the generator's state alone.
        """
        rows: list[int] = []
        while len(rows) < size:
            rows += rng.permutation(len(self.images))[: size - len(rows)].tolist()
        drawn = [self._crops_of(self.images[row], rng) for row in rows]
        tokens, masks = (np.stack(part) for part in zip(*drawn, strict=True))
        return CropBatch(tokens[:, 0], tokens[:, 1:], masks[:, 0], masks[:, 1:])

    @abstractmethod
    def _crops_of(self, image: TrainingImage, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return (1 + L, n, D) float32 tokens and (1 + L, n) bool foreground of one image's crops."""

    def _foreground(self, attention: np.ndarray | None, n_tokens: int) -> np.ndarray:
        if attention is None:
            return np.ones((1 + self.config.n_local, n_tokens), bool)
        side = round(n_tokens**0.5)
        mask = attention_foreground(attention.reshape(-1, side, side), self.config.attention)
        return mask.reshape(len(mask), n_tokens)


class TokenCrops(Crops):
    """Crops cut out of the token grid of the whole image: no pass through the backbone.

    An approximation: a token of the whole image has seen more than the crop would have shown, and a local
    crop is no sharper than the grid.
    """

    def _crops_of(self, image: TrainingImage, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        boxes, side = draw_crops(rng, image.size, self.config.n_local), self.config.crop_tokens
        assert image.tokens is not None
        tokens = np.stack([resample_tokens(image.tokens, box, image.size, side) for box in boxes])
        attention = None
        if (whole := image.attention) is not None:
            attention = np.stack([resample_tokens(whole[..., None], box, image.size, side) for box in boxes])
        return tokens.reshape(len(boxes), -1, tokens.shape[-1]), self._foreground(attention, side**2)


class PixelCrops(Crops):
    """Crops of pixels, each through the backbone, as published; ``tokens`` are made of their layers."""

    def __init__(self, images: list[TrainingImage], config: AlignSegConfig, tokens: TokenEmbedding) -> None:
        super().__init__(images, config)
        self.embed = tokens.embed
        self.layers = (*config.token_layers, *(["attn"] if config.attention < 1 else []))

    def _crops_of(self, image: TrainingImage, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        boxes, size = draw_crops(rng, image.size, self.config.n_local), self.config.crop_size
        try:
            pixels = image.read_image()
        except ImageReadError as error:
            raise PseudoMaskError(f"{error}: it was readable before; mend it and use --resume") from error
        crops = [
            resize_image(np.ascontiguousarray(pixels[y0:y1, x0:x1]), size, size) for y0, x0, y1, x1 in boxes
        ]
        found = image.encode(np.stack(crops), self.layers)
        tokens = np.stack([self.embed({k: v[i] for k, v in found.items()}) for i in range(len(boxes))])
        return tokens, self._foreground(found.get("attn"), tokens.shape[1])


def make_crops(config: AlignSegConfig, tokens: TokenEmbedding, images: list[TrainingImage]) -> Crops:
    """Return where the batches of the training come from."""
    return TokenCrops(images, config) if config.crops == "tokens" else PixelCrops(images, config, tokens)


def identify(config: AlignSegConfig, device: str, images: list[TrainingImage]) -> str:
    """Return what a checkpoint must have been made with, to be gone on from."""
    identity = hashlib.sha256(json.dumps([config.to_json(), device], sort_keys=True).encode())
    for digest in sorted(image.digest for image in images):
        identity.update(digest.encode())
    return identity.hexdigest()


class Trainer:
    """Trains a decoder; the backbone takes no part, so gradients exist only here.

    Args:
        decoder: as initialised; trained in place.
        recipe: the options of the method.
        device: torch device.
        checkpoint: file to go on from and to write to, ``None`` for neither.
        identity: what a checkpoint must have been made with, to be gone on from.

    Attributes:
        losses: one row a step: total, image alignment, prototype alignment.
    """

    def __init__(
        self, decoder: Decoder, recipe: AlignSegConfig, *, device: str, checkpoint: Path | None, identity: str
    ) -> None:
        self.decoder = decoder.to(device)
        self.recipe = recipe
        self.device = device
        self.checkpoint = checkpoint
        self.identity = identity
        self.losses: list[tuple[float, float, float]] = []
        self._consistent = True
        plain = [p for p in decoder.parameters() if p.ndim < 2 or p is decoder.prototypes]
        matrices = [p for p in decoder.parameters() if p.ndim > 1 and p is not decoder.prototypes]
        groups = [
            {"params": matrices, "weight_decay": recipe.weight_decay},
            {"params": plain, "weight_decay": 0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)

    def train(self, crops: Crops, progress: Progress) -> tuple[Decoder, np.ndarray]:
        """Train to the end, from the checkpoint if there is one.

        Any interruption leaves a checkpoint of the last whole step.

        Returns:
            The decoder, on the CPU, and (steps, 3) float64 :attr:`losses`.
        """
        self._restore()
        with progress.stage("training", total=self.recipe.steps, unit="step") as stage, single_thread():
            stage.update(len(self.losses))
            try:
                while len(self.losses) < self.recipe.steps and not self._plateau():
                    self._step(crops)
                    if len(self.losses) % self.recipe.checkpoint_every == 0:
                        self._save()
                    annotate(stage, f"loss {self.losses[-1][0]:.4f}")
                    stage.update(1)
            except BaseException:
                if self._consistent:  # else the last regular checkpoint has to do
                    with contextlib.suppress(OSError):
                        self._save()
                raise
        return self.decoder.cpu().eval(), np.array(self.losses, np.float64)

    def _step(self, crops: Crops) -> None:
        step = len(self.losses)
        recipe = self.recipe
        rate = recipe.learning_rate * 0.5 ** (10 * step // (3 * recipe.steps))  # halved every 3 epochs of 10
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # every step has a generator of its own: nothing random has to be kept in checkpoints
        batch = crops.batch(np.random.default_rng([recipe.random_state, step]), recipe.batch_size)
        total, image, prototype = self.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]  # torch
        values = (total.item(), image.item(), prototype.item())
        if not np.isfinite(values[0]):
            raise PseudoMaskError(
                f"training diverged at step {step} (loss {values[0]}); lower learning_rate, now "
                f"{recipe.learning_rate}"
            )
        self._consistent = False
        self.optimizer.step()
        self.losses.append(values)
        self._consistent = True

    def loss(self, batch: CropBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the weighted total, the image alignment and the prototype alignment of a batch."""
        recipe = self.recipe
        world, local, world_mask, local_mask = (torch.from_numpy(part).to(self.device) for part in batch)
        prototypes = self._decode(world)
        a = assignments(world, prototypes, recipe.temperature)
        image, prototype = [], []
        for crop in range(local.shape[1]):
            own = self._decode(local[:, crop])
            b = assignments(local[:, crop], own, recipe.temperature)
            image.append(self.image_alignment(world, local[:, crop], a, b, world_mask, local_mask[:, crop]))
            prototype.append(contrast_loss(prototypes, own, recipe.contrast_temperature))
        first, second = torch.stack(image).mean(), torch.stack(prototype).mean()
        return recipe.alignment_weight * first + second, first, second

    def image_alignment(self, world: torch.Tensor, local: torch.Tensor, *pair: torch.Tensor) -> torch.Tensor:
        """Return the loss of the tokens of two crops, and a ``pair`` of assignments and of masks of them."""
        return image_alignment_loss(correlation(world, local), *pair, pressure=self.recipe.pressure)

    def _decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Run the decoder, in bfloat16 where a GPU multiplies it natively; the losses stay in float32."""
        fast = self.device.startswith("cuda") and torch.cuda.is_bf16_supported()
        with torch.autocast("cuda", dtype=torch.bfloat16) if fast else contextlib.nullcontext():
            prototypes: torch.Tensor = self.decoder(tokens)
        return prototypes.float()

    def _plateau(self) -> bool:
        """Tell whether the mean loss of the last ``patience`` steps is no lower than of those before."""
        patience = self.recipe.patience
        if patience is None or len(self.losses) < 2 * patience or len(self.losses) % patience:
            return False
        total = np.array(self.losses)[:, 0]
        before, after = total[-2 * patience : -patience].mean(), total[-patience:].mean()
        return bool(before - after < MIN_GAIN * abs(before))

    # ------------------------------------------------------------------ checkpoints

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "identity": self.identity,
            "decoder": self.decoder.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "losses": torch.tensor(self.losses, dtype=torch.float64),
        }
        content = io.BytesIO()  # torch tells of a full disk by an error of its own
        torch.save(document, content)
        with atomic(self.checkpoint) as partial:
            partial.write_bytes(content.getbuffer())

    def _restore(self) -> None:
        if self.checkpoint is None or not self.checkpoint.is_file():
            return
        try:
            document = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        except Exception:  # cut short; torch and pickle tell of it by a dozen types
            logger.warning("%s is damaged: training starts again", self.checkpoint)
            return
        if document["identity"] != self.identity:
            return
        self.decoder.load_state_dict(document["decoder"])
        self.optimizer.load_state_dict(document["optimizer"])
        self.losses = [tuple(row) for row in document["losses"].tolist()]
