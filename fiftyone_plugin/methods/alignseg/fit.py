"""From AlignSeg's options to a trained decoder."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch

from ...clustering.kmeans import ReproducibleKMeans
from ...clustering.normalize import l2_normalize
from ...errors import UsageError
from ..saved import SavedArrays
from .config import AlignSegConfig
from .model import Decoder
from .tokens import TokenEmbedding, TrainingImage
from .training import Crops, PixelCrops, TokenCrops

__all__ = ["identify", "initial_decoder", "make_crops", "restore_decoder"]


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


def make_crops(config: AlignSegConfig, tokens: TokenEmbedding, images: list[TrainingImage]) -> Crops:
    """Return where the batches of the training come from."""
    if config.crops == "tokens":
        return TokenCrops(images, config)
    return PixelCrops(images, config, tokens.embed)


def identify(config: AlignSegConfig, device: str, images: list[TrainingImage]) -> str:
    """Return what a checkpoint must have been made with, to be gone on from."""
    identity = hashlib.sha256(json.dumps([config.to_json(), device], sort_keys=True).encode())
    for digest in sorted(image.digest for image in images):
        identity.update(digest.encode())
    return identity.hexdigest()
