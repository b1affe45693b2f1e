"""Options of DatUS: the two presets, what each knob may be, and the check of what was given."""

from __future__ import annotations

from typing import Any

from ...clustering.communities import ALGORITHMS
from ...clustering.region_classes import CLUSTERINGS
from ...common.checks import DIMENSIONS, ROWS, Number, check_flag, check_numbers
from ...errors import UsageError
from ...masks.refine import create_refiner
from .descriptors import CROP_FITS, CROPS
from .segments import NOISE, SegmentSettings

__all__ = ["PRESETS", "SEGMENT_FIELDS", "SEGMENT_KNOBS", "resolve_options"]

CROP_STEP = 112  # the least common multiple of the usual patch sizes, 8, 14 and 16

SHARED = {
    "algorithm": "louvain",
    "resolution": 1.0,
    "min_patches": 5,
    "max_segments": 32,
    "descriptor_layers": ["t-4", "t-3", "t-1"],
    "crop_size": 224,
}
PRESETS: dict[str, dict[str, Any]] = {
    "default": SHARED
    | {
        "layer": "out",
        "center": True,
        "weighted": True,
        "neighbours": 30,
        "noise": "neighbour",
        "descriptor": "pooled",
        "crop": "mean",
        "crop_fit": "pad",
        "whiten": 64,
        "clustering": "kmeans",
        "n_init": 10,
        "batch_size": None,
        "upsample": "soft",
    },
    "published": SHARED
    | {
        "layer": "k-1",
        "center": False,
        "weighted": False,
        "neighbours": None,
        "noise": "void",
        "descriptor": "cls",
        "crop": "black",
        "crop_fit": "center",
        "whiten": None,
        "clustering": "kmeans",
        "n_init": 1,
        "batch_size": 2048,
        "upsample": "ids",
    },
}
NUMBERS = {
    "n_classes": Number(1, 65_535),
    "neighbours": Number(2, ROWS, optional=True),
    "resolution": Number(1e-6, 1e6, whole=False),
    "min_patches": Number(0, ROWS),
    "max_segments": Number(1, 65_535),
    "crop_size": Number(CROP_STEP, 4096),
    "whiten": Number(1, DIMENSIONS, optional=True),
    "n_init": Number(1, 10_000),
    "batch_size": Number(1, ROWS, optional=True),
    "random_state": Number(0, 2**32 - 2),
}
CHOICES = {
    "preset": tuple(PRESETS),
    "algorithm": ALGORITHMS,
    "noise": NOISE,
    "descriptor": ("pooled", "cls"),
    "crop": CROPS,
    "crop_fit": CROP_FITS,
    "clustering": CLUSTERINGS,
    "upsample": ("soft", "ids"),
}
SEGMENT_FIELDS = tuple(SegmentSettings.__dataclass_fields__)
# all that the segments and their descriptors depend on, besides the image
SEGMENT_KNOBS = {
    *SEGMENT_FIELDS,
    *("layer", "descriptor", "descriptor_layers", "crop", "crop_fit", "crop_size"),
}


def resolve_options(preset: str, knobs: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """Return all options: those of the preset, then the ``knobs`` that were given, and the ``shared`` ones.

    Args:
        preset: name of a preset.
        knobs: options that a preset has a value for.
        shared: ``n_classes``, ``refine`` and ``random_state``.

    Raises:
        UsageError: unknown preset or knob, or a value of the wrong type or out of range.
    """
    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    if unknown := sorted(knobs.keys() - PRESETS[preset].keys()):
        known = ", ".join(PRESETS[preset])
        raise UsageError(f"method datus has no option {', '.join(unknown)}; it has: {known}")
    config: dict[str, Any] = shared | {"preset": preset} | PRESETS[preset] | knobs
    check_numbers(config, NUMBERS)
    for name in ("center", "weighted"):
        config[name] = check_flag(name, config[name])
    for name, choices in CHOICES.items():
        if config[name] not in choices:
            raise UsageError(f"unknown {name} {config[name]!r}; known: {', '.join(choices)}")
    if config["crop_size"] % CROP_STEP:
        raise UsageError(f"crop_size must be a multiple of {CROP_STEP}, got {config['crop_size']}")
    create_refiner(config["refine"])
    _check_layers(config)
    return config


def _check_layers(config: dict[str, Any]) -> None:
    """Check the names of layers; a single one may be given without a list."""
    layers = config["descriptor_layers"]
    layers = [layers] if isinstance(layers, str) else layers
    if not isinstance(layers, (list, tuple)) or not layers:
        raise UsageError(f"descriptor_layers must name at least one layer, got {layers!r}")
    config["descriptor_layers"] = [str(layer) for layer in layers]
    for layer in (config["layer"], *layers):
        if not isinstance(layer, str) or layer in ("cls", "attn"):
            raise UsageError(f"layers must be of patch features (out, t<block>, k<block>), got {layer!r}")
