"""A fitted model: the method, and what must be known beside it to label new images in the same way.

``DIR/model`` of a run holds the method, in ``method.json`` and ``arrays.safetensors``, and the rest in
``pipeline.json``. Nothing else takes these files apart. A stranger may have written them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..common.checks import check_numbers
from ..common.files import atomic, write_json
from ..common.untrusted import read_bytes, read_json, validate
from ..errors import UsageError
from ..masks.refine import create_refiner
from ..methods.base import Method
from ..methods.registry import create_method
from .config import NUMBERS, LabelConfig

if TYPE_CHECKING:
    from ..features.backbones import Backbone

__all__ = ["ARRAYS_NAME", "METHOD_NAME", "FittedModel", "create_configured", "load_method", "save_method"]

FORMAT = 1
METHOD_NAME, ARRAYS_NAME, PIPELINE_NAME = "method.json", "arrays.safetensors", "pipeline.json"
METHOD_WHAT = "the record of a fitted method"
PIPELINE_WHAT = "the description of a fitted model"
MAX_ARRAYS_BYTES = 8 << 30
ARCHITECTURE = r"[\w.-]+"


@dataclass(frozen=True)
class FittedModel:
    """A fitted method and the pipeline around it."""

    method: Method
    backbone: str  # name in timm's registry, or a weights file by its absolute path
    weights_sha256: str
    size: int  # side of the network input in pixels
    refine: str  # a name of ..masks.refine.REFINERS
    seed: int  # of the fit
    precision: Literal["float32", "bfloat16"] | None = None  # earlier versions did not record it

    @classmethod
    def of(cls, method: Method, backbone: Backbone, size: int, refine: str, seed: int) -> FittedModel:
        """Put a fitted method together with the backbone whose features it was fitted to."""
        loaded, precision = backbone.loaded, backbone.precision
        return cls(method, loaded.source, loaded.state_sha256, size, refine, seed, precision)  # type: ignore[arg-type]

    @classmethod
    def load(cls, folder: Path) -> FittedModel:
        """Load what :meth:`save` wrote.

        Raises:
            UsageError: it is not there, not complete, or names a size or refinement that cannot be.
        """
        path = folder / PIPELINE_NAME
        try:
            found = validate(read_json(path, what=PIPELINE_WHAT), _Pipeline, path=path, what=PIPELINE_WHAT)
            check_numbers(vars(found), {name: NUMBERS[name] for name in ("size", "seed")})
            create_refiner(found.refine)
        except UsageError as error:
            raise UsageError(
                f"{folder} is not the model folder of a run (no readable {PIPELINE_NAME}): {error}"
            ) from error
        return cls(load_method(folder), **vars(found))

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Tell whether a model was saved in a folder, completely."""
        return (folder / PIPELINE_NAME).is_file()

    def save(self, folder: Path) -> None:
        """Write the model; ``pipeline.json`` comes last, it tells that the model is complete.

        Raises:
            OSError: the disk is full or refuses; what was there stays whole.
            PseudoMaskError: the same, of a JSON file.
        """
        save_method(self.method, folder)
        write_json(folder / PIPELINE_NAME, {k: v for k, v in vars(self).items() if k != "method"})

    def recut(self, n_classes: int) -> FittedModel:
        """Return the model with K other classes, without reading any image.

        Raises:
            UsageError: its method cannot be cut so.
        """
        return replace(self, method=self.method.recut(n_classes))

    def check_weights(self, backbone: Backbone) -> None:
        """Compare a backbone with the one that the model was fitted with.

        Raises:
            UsageError: it has other weights.
        """
        if self.weights_sha256 != backbone.loaded.state_sha256:
            raise UsageError(
                f"the model was fitted with other weights than {backbone.name} has here "
                f"({self.weights_sha256[:12]} against {backbone.loaded.state_sha256[:12]}); "
                f"use the weights it was fitted with"
            )

    @property
    def backbone_here(self) -> str:
        """The backbone, as far as a model's folder may name it.

        That is a name in timm's registry, or a weights file of this machine by its absolute path; no other
        place, such as a hub's address. :meth:`check_weights` then tells whether the weights are the right
        ones.

        Raises:
            UsageError: it is something else, or there is no such file.
        """
        from ..features.backbones.weights import CHECKPOINT_SUFFIXES

        name = self.backbone
        if re.fullmatch(ARCHITECTURE, name) and PurePath(name).suffix not in CHECKPOINT_SUFFIXES:
            return name
        architecture, separator, rest = name.partition("=")
        path = Path(rest if separator and re.fullmatch(ARCHITECTURE, architecture) else name)
        shared = str(path).startswith(("//", "\\\\"))
        if not path.is_absolute() or shared or path.suffix not in CHECKPOINT_SUFFIXES or "\0" in name:
            raise UsageError(
                f"a model may not name weights like {name[:300]!r}, neither a backbone nor a local file by "
                f"its absolute path; name their file with --backbone"
            )
        if not path.is_file():
            raise UsageError(
                f"no weights file at {path}, with which the model was fitted; name their file with --backbone"
            )
        return name


@dataclass
class _Pipeline:
    """The types of a ``pipeline.json``; ``precision`` is younger than the others."""

    backbone: str
    weights_sha256: str
    size: int
    refine: str
    seed: int
    precision: Literal["float32", "bfloat16"] | None = None


def create_configured(config: LabelConfig, refine: str) -> Method:
    """Build the unfitted method that ``config`` names; ``refine`` is the refinement that was resolved.

    Raises:
        UsageError: unknown method or option, or an option for which there is a setting.
    """
    fixed = {
        "n_classes": config.classes,
        "random_state": config.seed,
        "refine": refine,
        "n_jobs": config.jobs,
    }
    if twice := sorted(fixed.keys() & config.options):
        raise UsageError(f"{', '.join(twice)} cannot be an option of the method: there is a setting for it")
    return create_method(config.method, **fixed, **config.options)


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


def load_method(directory: Path) -> Method:
    """Load what :func:`save_method` wrote; whatever else is there is refused, also by its contents.

    Raises:
        UsageError: the directory holds no fitted method of a format this version reads.
    """
    path = directory / METHOD_NAME
    try:
        document = read_json(path, what=METHOD_WHAT)
        found = document.get("format", FORMAT) if isinstance(document, dict) else FORMAT
        if found != FORMAT:
            raise UsageError(f"it was written in format {found!s:.20}, this version reads {FORMAT}")
        saved = validate(document, _Method, path=path, what=METHOD_WHAT)
        method = create_method(saved.method, **saved.config)
        method.set_state(saved.state, _read_arrays(directory / ARRAYS_NAME))
        return method
    except KeyError as error:
        raise UsageError(f"{directory} holds no fitted method: it lacks {error}") from error
    except UsageError as error:
        raise UsageError(f"{directory} holds no fitted method: {error}") from error


@dataclass
class _Method:
    """The types of a ``method.json``."""

    format: int
    method: str
    config: dict[str, Any]
    state: dict[str, Any]


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a model; they take no more memory than the file is long."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = read_bytes(path, what="the arrays of a fitted model", max_bytes=MAX_ARRAYS_BYTES)
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not readable: {error}") from error
