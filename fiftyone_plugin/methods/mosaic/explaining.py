"""The stages of an image on its way to a mask, as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ...clustering.normalize import VectorNormalizer
from ...common.parallel import one_thread
from ...features.types import FeatureBatch
from ...images.drawing import Panel
from .config import MosaicConfig
from .cutting import Cutting
from .labelling import Labelling

if TYPE_CHECKING:
    import torch

__all__ = ["explain"]


def explain(
    config: MosaicConfig,
    labelling: Labelling,
    cut_normalizers: dict[str, VectorNormalizer],
    batch: FeatureBatch,
) -> list[Panel]:
    """Return the cuts of an image, the head's confidence and classes, and the classes after spreading.

    Args:
        config: of the method.
        labelling: what labels images on the device of the batch.
        cut_normalizers: layer -> whitening that it is cut with.
        batch: one image.
    """
    (image,) = batch.images
    reduction, panels = labelling.reduction, []

    def add(title: str, values: torch.Tensor, kind: Literal["labels", "heat"] = "labels") -> None:
        panels.append(Panel(title, values.reshape(image.grid).cpu().numpy(), kind))

    with one_thread():
        whitened = reduction.whiten(reduction.stacked(batch.tensors))
        reduced = reduction(whitened)
        cutting = Cutting(config, reduction, cut_normalizers, None, 1)
        cuts = cutting.cut(batch.tensors, whitened, batch.images)
        for (layer, _), labels in zip(config.cuts, cuts, strict=False):
            add(f"{len(np.unique(labels.cpu().numpy()))} regions by {layer}", 1 + labels)
        head = labelling.by_head(reduced)
        add("confidence of the head", head.amax(2), "heat")
        add("classes by the head", 1 + head.argmax(2))
        if config.spread:
            present, scores = labelling.winners(reduced)
            add("spread in the image", 1 + present.gather(1, scores.argmax(2)))
    return panels
