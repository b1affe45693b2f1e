"""What a run says about itself: its settings, and the versions of what made it."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from .._version import DISTRIBUTION, __version__
from ..common.stamps import file_stamp
from ..images.listing import ImageItem
from .images import describe_images, names_sha256
from .model import ARRAYS_NAME, FittedModel

if TYPE_CHECKING:
    from ..features.backbones import Backbone

__all__ = ["describe_settings", "image_names_sha256", "versions"]


def describe_settings(
    model: FittedModel, backbone: Backbone, items: Sequence[ImageItem], fitted: Path | None
) -> dict[str, object]:
    """Return all that the masks depend on, JSON-serialisable; a resumed run must have the same.

    The model is to be fitted, or was loaded from the folder ``fitted``.
    """
    arrays = (fitted / ARRAYS_NAME).read_bytes() if fitted else None
    return {
        "method": model.method.name,
        "method_config": model.method.get_config(),
        "backbone": {
            **backbone.fingerprint(),
            "origin": backbone.loaded.origin,
            "licence": backbone.loaded.licence,
            "weights_file_sha256": backbone.loaded.file_sha256,
        },
        "size": backbone.round_size(model.size),
        "refine": model.refine,
        "seed": model.seed,
        **describe_images({item.key: file_stamp(item.path) for item in items}),
        "model": hashlib.sha256(arrays).hexdigest() if arrays is not None else None,
    }


def image_names_sha256(items: Sequence[ImageItem]) -> str:
    """Return what tells the images of two runs apart, by name."""
    return names_sha256(item.key for item in items)


def versions() -> dict[str, str]:
    """Return package -> version of what results depend on, as far as it is installed."""
    packages = ("torch", "timm", "numpy", "scikit-learn", "scipy", "pillow", "fiftyone", "pydensecrf2")
    found = {DISTRIBUTION: __version__, "python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
