"""From AlignSeg's parameters to a trained decoder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...clustering.kmeans import ReproducibleKMeans
from ...clustering.normalize import l2_normalize
from ...common.progress import Progress
from ...errors import UsageError
from ..saved import SavedArrays
from .model import Decoder
from .tokens import TokenEmbedding, TrainingImage
from .training import Crops, PixelCrops, Recipe, TokenCrops, Trainer

__all__ = ["build_decoder", "initial_decoder", "make_crops", "restore_decoder", "train_decoder"]


def build_decoder(config: dict[str, Any], dim: int) -> Decoder:
    """Return a decoder for ``dim`` token dimensions, its weights drawn by torch's generator."""
    options = {name: config[name] for name in ("n_layers", "n_heads", "chained")}
    return Decoder(dim, config["n_prototypes"], hidden=config["hidden"] or 2 * dim, **options)


def restore_decoder(config: dict[str, Any], saved: SavedArrays, dim: int) -> Decoder:
    """Return a decoder with saved weights, for evaluation.

    Args:
        config: parameters of the method.
        saved: its weights, float32.
        dim: D, the token dimensions.

    Raises:
        KeyError: a weight is missing.
        UsageError: one does not fit the parameters.
    """
    _check_heads(config, dim)
    # before anything is made of the size that the parameters name: the file must have as much
    for layer in range(config["n_layers"]):
        saved.floats(f"layers.{layer}.ffn.0.weight", config["hidden"] or 2 * dim, dim)
    saved.floats("prototypes", config["n_prototypes"], dim)
    decoder = build_decoder(config, dim)
    weights = {name: saved.floats(name, *weight.shape) for name, weight in decoder.state_dict().items()}
    decoder.load_state_dict({name: torch.from_numpy(weight.copy()) for name, weight in weights.items()})
    return decoder.eval()


def _check_heads(config: dict[str, Any], dim: int) -> None:
    if dim % config["n_heads"]:
        raise UsageError(f"n_heads must divide the {dim} token dimensions, got {config['n_heads']}")


def initial_decoder(config: dict[str, Any], vectors: np.ndarray) -> Decoder:
    """Return the decoder that training starts from.

    Args:
        config: parameters of the method.
        vectors: (n, D) float32 tokens of many images, of unit length.

    Raises:
        UsageError: the number of heads does not divide D.
    """
    dim, seed = vectors.shape[1], config["random_state"]
    _check_heads(config, dim)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = build_decoder(config, dim)
    if config["prototypes"] == "kmeans":
        kmeans = ReproducibleKMeans(config["n_prototypes"], n_init=3, random_state=seed).fit(vectors)
        centers = l2_normalize(kmeans.cluster_centers_) * np.float32(dim**0.5)
        decoder.prototypes.data[: len(centers)] = torch.from_numpy(centers)
    return decoder


def make_crops(config: dict[str, Any], tokens: TokenEmbedding, images: list[TrainingImage]) -> Crops:
    """Return where the batches of the training come from."""
    shared = {
        "n_local": config["n_local"],
        "mass": config["attention"],
        "released_order": config["crop_order"] == "released",
    }
    if config["crops"] == "tokens":
        return TokenCrops(images, side=config["crop_tokens"], **shared)
    layers = [*config["token_layers"], *(["attn"] if config["attention"] < 1 else [])]
    return PixelCrops(images, size=config["crop_size"], layers=layers, embed=tokens.embed, **shared)


def train_decoder(
    decoder: Decoder,
    config: dict[str, Any],
    tokens: TokenEmbedding,
    images: list[TrainingImage],
    *,
    device: str,
    work_dir: Path | None,
    progress: Progress,
) -> tuple[Decoder, np.ndarray]:
    """Train, from the checkpoint in ``work_dir`` if it was made with the same parameters, device and images.

    Returns:
        The decoder, on the CPU, and (steps, 3) float64 losses: total, image alignment, prototype alignment.
    """
    identity = hashlib.sha256(json.dumps([config, device], sort_keys=True).encode())
    for digest in sorted(image.digest for image in images):
        identity.update(digest.encode())
    trainer = Trainer(
        decoder,
        Recipe(**{field.name: config[field.name] for field in fields(Recipe)}),
        device=device,
        checkpoint=work_dir / "training.pt" if work_dir is not None else None,
        identity=identity.hexdigest(),
    )
    losses = trainer.train(make_crops(config, tokens, images), progress)
    return decoder.cpu().eval(), np.array(losses, np.float64)
