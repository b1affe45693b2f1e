"""The contract of a method, and how fitted methods are saved, loaded and looked up by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..common.progress import Progress
from ..common.untrusted import read_bytes
from ..errors import UsageError
from ..features.types import FeatureSource, ImageFeatures
from ..masks.scores import LabelScores

__all__ = ["Method", "Recuttable", "Trainable"]

METHOD_NAME, ARRAYS_NAME = "method.json", "arrays.safetensors"
WHAT = "the record of a fitted method"
MAX_ARRAYS_BYTES = 8 << 30


@runtime_checkable
class Method(Protocol):
    """Learns from a stream of images in bounded memory, then labels one image at a time."""

    name: str
    has_background: bool
    """Label 0 is a background that the method finds; without it every pixel gets a class."""
    n_jobs: int
    """Worker processes for per-image work, 0 for all cores; does not change results."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers to extract, see :mod:`fiftyone_plugin.features.backbones.vit`."""

    def fit(self, features: FeatureSource, *, progress: Progress) -> Method:
        """Learn from the data set."""

    def prefetch(self, images: list[ImageFeatures]) -> None:
        """Do what can be done for several images at once, and leave it in their ``memo``; may do nothing."""

    def predict(self, features: ImageFeatures) -> LabelScores:
        """Label one image."""

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, JSON-serialisable."""

    def get_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Learnt state: JSON-serialisable values, and arrays."""

    def set_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Restore what :meth:`get_state` returned."""


@runtime_checkable
class Trainable(Protocol):
    """Optional part of the contract: methods whose fit is long enough to go on with after an interruption."""

    work_dir: Path | None
    """Folder for checkpoints, set before fit and kept by an interrupted run; ``None``: keep none. A fit that
    finds a checkpoint there of the same settings and images goes on from it, to the same result."""
    device: str
    """Torch device to train on."""


@runtime_checkable
class Recuttable(Protocol):
    """Optional part of the contract: fitted methods that can be cut into another number of classes."""

    def recut(self, n_classes: int) -> Method:
        """Return the method with K other classes, without reading any image.

        Raises:
            UsageError: it cannot be cut into that many.
        """


@dataclass
class _Document:
    """The types of a ``method.json``."""

    format: int
    method: str
    config: dict[str, Any]
    state: dict[str, Any]


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a model; they take no more memory than the file is long.

    Raises:
        UsageError: it is no regular file, too large, or no such file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = read_bytes(path, what="the arrays of a fitted model", max_bytes=MAX_ARRAYS_BYTES)
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not readable: {error}") from error
