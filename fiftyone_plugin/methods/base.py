"""The contract of a method, and how fitted methods are saved, loaded and looked up by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..common.files import atomic, write_json
from ..common.untrusted import read_bytes, read_json, validate
from ..errors import UsageError
from ..features.types import FeatureSource, ImageFeatures
from ..progress import Progress

__all__ = [
    "LabelScores",
    "Method",
    "Recuttable",
    "Trainable",
    "create_method",
    "list_methods",
    "load_method",
    "save_method",
]

FORMAT = 1
METHOD_NAME, ARRAYS_NAME = "method.json", "arrays.safetensors"
WHAT = "the record of a fitted method"
MAX_ARRAYS_BYTES = 8 << 30


@dataclass
class LabelScores:
    """Soft labels of one image: only the classes that occur in it.

    Attributes:
        labels: (L,) int, ascending class ids; 0 is background or unlabelled.
        scores: (L, h, w) float32, >= 0, sums to 1 over L; at patch, working or native resolution.
        refined: the method has used the pixels already; nothing but up-sampling is left to do.
        agreement: (L,) float32 in [0, 1], how far other images bear out each segment's class; ``None`` where
            the method cannot tell.
    """

    labels: np.ndarray
    scores: np.ndarray
    refined: bool = False
    agreement: np.ndarray | None = None

    def argmax(self) -> np.ndarray:
        """Return the (h, w) label map of highest score; ties go to the lowest label."""
        return self.labels[self.scores.argmax(0)]


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
        """Layers to extract, see :mod:`fiftyone_plugin.backbones.vit`."""

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


def _registry() -> dict[str, Callable[..., Method]]:
    from .alignseg import AlignSeg
    from .datus import DatUS
    from .lightcluster import LightCluster
    from .mosaic import Mosaic

    return {"mosaic": Mosaic, "lightcluster": LightCluster, "datus": DatUS, "alignseg": AlignSeg}


def list_methods() -> list[str]:
    """Return the names of the methods."""
    return list(_registry())


def create_method(name: str, /, **config: Any) -> Method:
    """Build an unfitted method by name.

    Raises:
        UsageError: unknown name or option.
    """
    methods = _registry()
    if name not in methods:
        raise UsageError(f"unknown method {name!r}; known: {', '.join(methods)}")
    try:
        return methods[name](**config)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"method {name}: {error}") from error


def save_method(method: Method, directory: Path) -> None:
    """Write a fitted method as ``method.json`` and ``arrays.safetensors`` into ``directory``.

    Raises:
        OSError: the disk is full or refuses; what was there stays whole.
        PseudoMaskError: the same, of ``method.json``.
    """
    from safetensors.numpy import save

    values, arrays = method.get_state()
    directory.mkdir(parents=True, exist_ok=True)
    # to memory first: safetensors tells of a full disk by an error of its own, and leaves half a file
    content = save({k: np.ascontiguousarray(v) for k, v in arrays.items()})
    with atomic(directory / ARRAYS_NAME) as partial:
        partial.write_bytes(content)
    document = {"format": FORMAT, "method": method.name, "config": method.get_config(), "state": values}
    write_json(directory / METHOD_NAME, document)


@dataclass
class _Document:
    """The types of a ``method.json``."""

    format: int
    method: str
    config: dict[str, Any]
    state: dict[str, Any]


def load_method(directory: Path) -> Method:
    """Load what :func:`save_method` wrote; whatever else is there is refused, also by its contents.

    Raises:
        UsageError: the directory holds no fitted method of a format this version reads.
    """
    path = directory / METHOD_NAME
    try:
        document = read_json(path, what=WHAT)
        found = document.get("format", FORMAT) if isinstance(document, dict) else FORMAT
        if found != FORMAT:
            raise UsageError(f"it was written in format {found!s:.20}, this version reads {FORMAT}")
        saved = validate(document, _Document, path=path, what=WHAT)
        method = create_method(saved.method, **saved.config)
        method.set_state(saved.state, _read_arrays(directory / ARRAYS_NAME))
        return method
    except KeyError as error:
        raise UsageError(f"{directory} holds no fitted method: it lacks {error}") from error
    except UsageError as error:
        raise UsageError(f"{directory} holds no fitted method: {error}") from error


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
