"""What a run says about itself: its settings, versions, and what a fitted model needs to be used again."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ._version import DISTRIBUTION, __version__
from .common.stamps import file_stamp
from .errors import UsageError
from .methods.base import Method
from .runs.images import describe_images, names_sha256
from .sources import ImageItem

__all__ = ["PIPELINE_NAME", "check_weights", "describe_model", "describe_settings", "read_model", "versions"]

PIPELINE_NAME = "pipeline.json"


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


def read_model(model: Path) -> dict[str, Any]:
    """Read what :func:`describe_model` returned from the folder of a fitted model.

    Raises:
        UsageError: it is not there, or not complete.
    """
    kinds = {"backbone": str, "weights_sha256": str, "size": int, "refine": str, "seed": int}
    try:
        document = json.loads((model / PIPELINE_NAME).read_text(encoding="utf-8"))
        if all(isinstance(document[name], kind) for name, kind in kinds.items()):
            return document
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UsageError(f"{model} is not the model folder of a run (no readable pipeline.json)")


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
