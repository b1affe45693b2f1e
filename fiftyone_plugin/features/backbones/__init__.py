"""timm vision transformers, by name or checkpoint, to dense features."""

from .registry import BACKBONES, DEFAULT_BACKBONE, OFFLINE_BACKBONE, BackboneSpec, list_backbones
from .vit import (
    Backbone,
    load_backbone,
    pick_batch_size,
    pick_device,
    pick_devices,
    pick_precision,
    to_device,
)
from .weights import LoadedModel, check_backbone, load_model, weights_origin

__all__ = [
    "BACKBONES",
    "DEFAULT_BACKBONE",
    "OFFLINE_BACKBONE",
    "Backbone",
    "BackboneSpec",
    "LoadedModel",
    "check_backbone",
    "list_backbones",
    "load_backbone",
    "load_model",
    "pick_batch_size",
    "pick_device",
    "pick_devices",
    "pick_precision",
    "to_device",
    "weights_origin",
]
