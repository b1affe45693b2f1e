"""What a run says about itself: its settings, versions, and what a fitted model needs to be used again."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import Any, Literal

from ._version import DISTRIBUTION, __version__
from .common.stamps import file_stamp
from .common.untrusted import read_json, validate
from .config import NUMBERS as SETTINGS
from .errors import UsageError
from .methods.base import Method
from .methods.parameters import check_numbers
from .refinement import create_refiner
from .runs.images import describe_images, names_sha256
from .sources import ImageItem

__all__ = [
    "PIPELINE_NAME",
    "check_weights",
    "describe_model",
    "describe_settings",
    "read_model",
    "saved_backbone",
    "versions",
]

PIPELINE_NAME = "pipeline.json"
NAME = r"[\w.-]+"  # of an architecture
NUMBERS = {name: SETTINGS[name] for name in ("size", "seed")}


def describe_settings(
    method: Method,
    backbone: Any,
    size: int,
    refine: str,
    seed: int,
    items: Sequence[ImageItem],
    model: Path | None,
) -> dict[str, Any]:
    """Return all that the masks depend on, JSON-serialisable; a resumed run must have the same."""
    arrays = (model / "arrays.safetensors").read_bytes() if model else None
    return {
        "method": method.name,
        "method_config": method.get_config(),
        "backbone": {
            **backbone.fingerprint(),
            "origin": backbone.loaded.origin,
            "licence": backbone.loaded.licence,
            "weights_file_sha256": backbone.loaded.file_sha256,
        },
        "size": backbone.round_size(size),
        "refine": refine,
        "seed": seed,
        **describe_images({item.key: file_stamp(item.path) for item in items}),
        "model": hashlib.sha256(arrays).hexdigest() if arrays is not None else None,
    }


def image_names_sha256(items: Sequence[ImageItem]) -> str:
    """Return what tells the images of two runs apart, by name."""
    return names_sha256(item.key for item in items)


def describe_model(backbone: Any, size: int, refine: str, seed: int) -> dict[str, Any]:
    """Return what must be known beside the fitted method to label new images in the same way."""
    return {
        "backbone": backbone.loaded.source,
        "weights_sha256": backbone.loaded.state_sha256,
        "precision": backbone.precision,
        "size": size,
        "refine": refine,
        "seed": seed,
    }


@dataclass
class _Pipeline:
    """The types of what :func:`describe_model` returns; ``precision`` is younger than the others."""

    backbone: str
    weights_sha256: str
    size: int
    refine: str
    seed: int
    precision: Literal["float32", "bfloat16"] | None = None


def read_model(model: Path) -> dict[str, Any]:
    """Read what :func:`describe_model` returned from the folder of a fitted model.

    Raises:
        UsageError: it is not there, not complete, or names a size or refinement that cannot be.
    """
    path = model / PIPELINE_NAME
    what = "the description of a fitted model"
    try:
        document = read_json(path, what=what)
        found = validate(document, _Pipeline, path=path, what=what)
        check_numbers(vars(found), NUMBERS)
        create_refiner(found.refine)
    except UsageError as error:
        raise UsageError(
            f"{model} is not the model folder of a run (no readable {PIPELINE_NAME}): {error}"
        ) from error
    return document


def saved_backbone(saved: dict[str, Any]) -> str:
    """Return the backbone that a model was fitted with, as far as a model's folder may name it.

    That is a name in timm's registry, or a weights file of this machine by its absolute path; no other place,
    such as a hub's address. :func:`check_weights` then tells whether the weights are the right ones.

    Args:
        saved: what :func:`read_model` returned.

    Raises:
        UsageError: it is something else, or there is no such file.
    """
    from .backbones.weights import CHECKPOINT_SUFFIXES

    name = str(saved["backbone"])
    if re.fullmatch(NAME, name) and PurePath(name).suffix not in CHECKPOINT_SUFFIXES:
        return name
    architecture, separator, rest = name.partition("=")
    path = Path(rest if separator and re.fullmatch(NAME, architecture) else name)
    shared = str(path).startswith(("//", "\\\\"))
    usable = path.is_absolute() and not shared and path.suffix in CHECKPOINT_SUFFIXES and "\0" not in name
    if not usable:
        raise UsageError(
            f"a model may not name weights like {name[:300]!r}, neither a backbone nor a local file by its "
            f"absolute path; name their file with --backbone"
        )
    if not path.is_file():
        raise UsageError(
            f"no weights file at {path}, with which the model was fitted; name their file with --backbone"
        )
    return name


def check_weights(saved: dict[str, Any], backbone: Any) -> None:
    """Compare a backbone with the one that a model was fitted with.

    Raises:
        UsageError: it has other weights.
    """
    if saved["weights_sha256"] != backbone.loaded.state_sha256:
        raise UsageError(
            f"the model was fitted with other weights than {backbone.name} has here "
            f"({saved['weights_sha256'][:12]} against {backbone.loaded.state_sha256[:12]}); "
            f"use the weights it was fitted with"
        )


def versions() -> dict[str, str]:
    """Return package -> version of what results depend on, as far as it is installed."""
    packages = ("torch", "timm", "numpy", "scikit-learn", "scipy", "pillow", "fiftyone", "pydensecrf2")
    installed = {package: found for package in packages if (found := _version_of(package))}
    return {DISTRIBUTION: __version__, "python": platform.python_version(), **installed}


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
