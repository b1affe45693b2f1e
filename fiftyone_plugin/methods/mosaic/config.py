"""What Mosaic's constructor accepts."""

from __future__ import annotations

from typing import Any

from ...common.checks import DIMENSIONS, ROWS, Number, check_flag, check_numbers
from ...errors import UsageError

__all__ = ["STACK", "check_config"]

MOST = 64  # layers, cuts or graphs
STACK = "stack"  # names the stacked layers among those to cut by

NUMBERS = {
    "whiten": Number(1, DIMENSIONS),
    "cue_regions": Number(0, 255),
    "blur": Number(0, 100, whole=False),
    "neighbours": Number(1, 65_535),
    "sample_size": Number(1, ROWS),
    "max_images": Number(1, ROWS),
    "max_landmarks": Number(4, ROWS),
    "head_patches": Number(1, ROWS),
    "regularization": Number(1e-9, 1e9, whole=False),
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
        check_numbers(config, {"foreground": Number(0, 1e6, whole=False)})
    layers = [*config["layers"], config["cue"]]
    if not config["layers"] or not all(_is_patch_layer(layer) for layer in layers):
        raise UsageError(
            f"layers and cue must be patch features (out, t<block>, k<block>), got {layers!s:.200}"
        )
    if not config["graph_whiten"]:
        raise UsageError("graph_whiten is empty: there would be no graph")
    if max(map(len, (config["layers"], config["cuts"], config["graph_whiten"]))) > MOST:
        raise UsageError(f"layers, cuts and graph_whiten list at most {MOST} values each")
    for components in config["graph_whiten"]:
        check_numbers({"graph_whiten": components}, {"graph_whiten": Number(1, DIMENSIONS)})
    for cut in config["cuts"]:
        if len(cut) != 2 or not _is_patch_layer(cut[0]):
            raise UsageError(f"cuts are pairs of a layer and a number of regions, got {cut!s:.200}")
        check_numbers({"cuts": cut[1]}, {"cuts": Number(1, 255)})
    if not config["cuts"] and not config["cue_regions"]:
        raise UsageError("cuts is empty and cue_regions is 0: there would be no regions")


def _is_patch_layer(layer: Any) -> bool:
    return isinstance(layer, str) and layer not in ("cls", "attn")
