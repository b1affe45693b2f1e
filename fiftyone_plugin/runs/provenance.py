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

from .._version import DISTRIBUTION, __version__
from ..common.stamps import file_stamp
from ..errors import UsageError
from ..images.listing import ImageItem
from ..methods.base import Method
from .config import NUMBERS as SETTINGS
from .images import describe_images, names_sha256

__all__ = ["describe_settings", "saved_backbone", "versions"]

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


@dataclass
class _Pipeline:
    """The types of what :func:`describe_model` returns; ``precision`` is younger than the others."""

    backbone: str
    weights_sha256: str
    size: int
    refine: str
    seed: int
    precision: Literal["float32", "bfloat16"] | None = None


def saved_backbone(saved: dict[str, Any]) -> str:
    """Return the backbone that a model was fitted with, as far as a model's folder may name it.

    That is a name in timm's registry, or a weights file of this machine by its absolute path; no other place,
    such as a hub's address. :func:`check_weights` then tells whether the weights are the right ones.

    Args:
        saved: what :func:`read_model` returned.

    Raises:
        UsageError: it is something else, or there is no such file.
    """
    from ..features.backbones.weights import CHECKPOINT_SUFFIXES

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
