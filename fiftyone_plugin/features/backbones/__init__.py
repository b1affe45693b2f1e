"""timm vision transformers, by name or checkpoint, to dense features."""

from .registry import DEFAULT_BACKBONE, OFFLINE_BACKBONE
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

__all__ = ["DEFAULT_BACKBONE", "OFFLINE_BACKBONE", "Backbone", "LoadedModel", "check_backbone"]
__all__ += ["load_backbone", "load_model", "pick_batch_size", "pick_device", "pick_devices", "pick_precision"]
__all__ += ["to_device", "weights_origin"]
