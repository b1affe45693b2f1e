"""Image-text models that the user has, through open_clip: crops and words as vectors of one space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.parallel import batched
from ..errors import UsageError, did_you_mean
from .backbones.checkpoints import first_line

if TYPE_CHECKING:
    import torch
    from PIL import Image

__all__ = ["TEMPLATES", "ImageText", "load_image_text"]

#: Sentences that a word is put into, whose vectors are averaged (Radford et al., "Learning transferable
#: visual models from natural language supervision", ICML 2021, section 3.1.4).
TEMPLATES = ("a photo of a {}.", "a photo of {}.", "there is {} in the scene.", "a close-up photo of {}.")
BATCH = 64


@dataclass(frozen=True)
class ImageText:
    """An image-text model of open_clip on the CPU, in evaluation mode."""

    model: Any
    prepare: Callable[[Image.Image], torch.Tensor]  # (3, H, W)
    tokenize: Callable[[list[str]], torch.Tensor]  # (n, L)

    @property
    def scale(self) -> float:
        """What cosines are multiplied by before the softmax."""
        return float(self.model.logit_scale.detach().exp())

    def images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Return (n, d) float32 unit vectors of RGB images."""
        import torch

        batches = batched(images, BATCH)
        prepared = (torch.stack([self.prepare(image) for image in batch]) for batch in batches)
        return _vectors(self.model.encode_image, prepared)

    def words(self, words: Sequence[str]) -> np.ndarray:
        """Return (n, d) float32 unit vectors of words, each the mean over :data:`TEMPLATES`."""
        texts = [template.format(word) for word in words for template in TEMPLATES]
        vectors = _vectors(self.model.encode_text, map(self.tokenize, batched(texts, BATCH)))
        return _unit(vectors.reshape(len(words), len(TEMPLATES), -1).mean(1))


def load_image_text(name: str) -> ImageText:
    """Load an image-text model.

    Args:
        name: ``ARCHITECTURE=FILE``, an architecture of open_clip and a file of its weights; or
            ``ARCHITECTURE:TAG``, weights by their name in open_clip, downloaded once.

    Raises:
        UsageError: open_clip is not installed, there is no such architecture, or no such weights here.
    """
    try:
        import open_clip
    except ImportError as error:
        raise UsageError(
            "suggesting names needs open_clip, which is not installed: "
            "pip install 'fiftyone-pseudomask[names]'"
        ) from error
    mark = "=" if "=" in name else ":"
    architecture, _, weights = name.partition(mark)
    if architecture not in (known := open_clip.list_models()):
        near = did_you_mean(architecture, known)
        raise UsageError(f"open_clip has no architecture {architecture!r:.100}{near}")
    if mark == "=" and not Path(weights).is_file():
        raise UsageError(
            f"no file of weights at {weights!r:.200}: name it after the architecture, ARCHITECTURE=FILE"
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if mark == ":" and weights not in tags:
        having = f"open_clip has {', '.join(tags)}" if tags else "open_clip has none for it"
        raise UsageError(
            f"{architecture} needs weights: {architecture}=FILE for a file of yours, or {architecture}:TAG; "
            f"{having}"
        )
    try:
        model, _, prepare = open_clip.create_model_and_transforms(architecture, pretrained=weights)
    except (OSError, RuntimeError, ValueError, KeyError, UnpicklingError) as error:
        offline = " (no network, or HF_HUB_OFFLINE is set?)" if mark == ":" else ""
        raise UsageError(
            f"cannot load the weights {weights!r:.200} of {architecture}{offline}: {first_line(error):.300}"
        ) from error
    return ImageText(model.eval(), prepare, open_clip.get_tokenizer(architecture))


def _vectors(encode: Callable[[torch.Tensor], torch.Tensor], batches: Iterable[torch.Tensor]) -> np.ndarray:
    import torch

    with torch.inference_mode():
        return _unit(torch.cat([encode(batch) for batch in batches]).float().numpy())


def _unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), np.float32)
