"""What Mosaic's constructor accepts."""

from __future__ import annotations

from typing import Any

from ..errors import UsageError
from .parameters import Number, check_flag, check_numbers

__all__ = ["STACK", "check_config"]

STACK = "stack"  # names the stacked layers among those to cut by

NUMBERS = {
    "whiten": Number(1),
    "cue_regions": Number(0, 255),
    "blur": Number(0, whole=False),
    "neighbours": Number(1),
    "sample_size": Number(1),
    "max_images": Number(1),
    "max_landmarks": Number(4),
    "head_patches": Number(1),
    "regularization": Number(1e-9, whole=False),
    "random_state": Number(0, 2**32 - 2),
}


def check_config(config: dict[str, Any]) -> None:
    """Check the constructor arguments of :class:`~.mosaic.Mosaic`.

    Raises:
        UsageError: one of them is impossible; the message names it.
    """
    check_numbers(config, NUMBERS)
    check_flag("spread", config["spread"])
    if config["n_classes"] != "auto":
        check_numbers(config, {"n_classes": Number(1, 65_535)})
    if config["foreground"] != "auto":
        check_numbers(config, {"foreground": Number(0, whole=False)})
    if not config["layers"] or any(layer in ("cls", "attn") for layer in config["layers"]):
        raise UsageError(f"layers must be patch features (out, t<block>, k<block>), got {config['layers']}")
    if not config["graph_whiten"]:
        raise UsageError("graph_whiten is empty: there would be no graph")
    for components in config["graph_whiten"]:
        check_numbers({"graph_whiten": components}, {"graph_whiten": Number(1)})
    for cut in config["cuts"]:
        if len(cut) != 2 or not isinstance(cut[0], str):
            raise UsageError(f"cuts are pairs of a layer and a number of regions, got {cut}")
        check_numbers({"cuts": cut[1]}, {"cuts": Number(1, 255)})
    if not config["cuts"] and not config["cue_regions"]:
        raise UsageError("cuts is empty and cue_regions is 0: there would be no regions")
