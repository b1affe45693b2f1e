"""What the parameters of :class:`~.alignseg.AlignSeg` may be."""

from __future__ import annotations

from typing import Any

from ...common.checks import DIMENSIONS, ROWS, Number, check_flag, check_numbers
from ...errors import UsageError
from ...masks.refine import create_refiner

__all__ = ["check_config"]

NUMBERS = {
    "n_classes": Number(1, 65_535),
    "n_prototypes": Number(1, 255),
    "whiten": Number(1, DIMENSIONS, optional=True),
    "smooth": Number(0, 8, whole=False),
    "n_layers": Number(1, 64),
    "n_heads": Number(1, 1024),
    "hidden": Number(1, DIMENSIONS, optional=True),
    "crop_size": Number(14, 4096),
    "crop_tokens": Number(2, 256),
    "n_local": Number(1, 16),
    "attention": Number(0.01, 1, whole=False),
    "pressure": Number(-1, 1, whole=False),
    "temperature": Number(1e-3, 1e6, whole=False),
    "contrast_temperature": Number(1e-3, 1e6, whole=False),
    "alignment_weight": Number(0, 1e6, whole=False),
    "steps": Number(1, ROWS),
    "batch_size": Number(1, ROWS),
    "learning_rate": Number(0, 1e30, whole=False),
    "weight_decay": Number(0, 1e6, whole=False),
    "patience": Number(1, ROWS, optional=True),
    "checkpoint_every": Number(1, ROWS),
    "max_images": Number(1, ROWS),
    "sample_size": Number(1, ROWS),
    "adapt_steps": Number(0, 1000),
    "min_patches": Number(1, ROWS),
    "score_temperature": Number(1e-4, 1e6, whole=False),
    "class_whiten": Number(1, DIMENSIONS, optional=True),
    "n_init": Number(1, 10_000),
    "random_state": Number(0, 2**32 - 2),
}
CHOICES = {
    "prototypes": ("random", "kmeans"),
    "crops": ("tokens", "pixels"),
    "crop_order": ("correct", "released"),
    "loss": ("mean", "sum"),
    "class_clustering": ("kmeans", "spectral"),
    "output": ("classes", "regions"),
}


def check_config(config: dict[str, Any]) -> None:
    """Check the constructor arguments and make them plain values, which JSON can hold; changes ``config``.

    Raises:
        UsageError: a value is of the wrong type or out of range.
    """
    check_numbers(config, NUMBERS)
    for name in ("center", "chained", "keep_mean"):
        config[name] = check_flag(name, config[name])
    for name, known in CHOICES.items():
        if config[name] not in known:
            raise UsageError(f"{name} must be one of {', '.join(known)}, got {config[name]!r}")
    for name in ("token_layers", "class_layers"):
        config[name] = _patch_layers(name, config[name])
    create_refiner(config["refine"])


def _patch_layers(name: str, value: Any) -> list[str]:
    """Return layer names as a list, which JSON can hold."""
    layers = [value] if isinstance(value, str) else value
    if (
        not isinstance(layers, (list, tuple))
        or not layers
        or not all(isinstance(layer, str) and layer not in ("cls", "attn") for layer in layers)
    ):
        raise UsageError(f"{name} must be layers of patch features (out, t<block>, k<block>), got {value!r}")
    return list(layers)
