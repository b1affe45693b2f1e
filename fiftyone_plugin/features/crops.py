"""Features of crops, kept in the feature store by the crops' own pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .store import FeatureStore

if TYPE_CHECKING:
    from .backbones import Backbone

__all__ = ["CropEncoder"]


class CropEncoder:
    """Turns crops into features, and remembers them over runs.

    A crop is known by the hash of its pixels, whatever image and method it came from. Each size has a store
    of its own beside that of the images, ``store``; where that is ``None``, nothing is remembered.
    """

    def __init__(self, backbone: Backbone, batch_size: int, store: FeatureStore | None) -> None:
        self.backbone = backbone
        self.batch_size = batch_size
        self._beside = store
        self._stores: dict[int, FeatureStore] = {}

    def __call__(self, pixels: np.ndarray, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the features of (n, S, S, 3) uint8 ``pixels``, n >= 1, by the names in ``layers``."""
        names = {name: self.backbone.resolve_layer(name) for name in layers}
        wanted = sorted(set(names.values()))
        digests = [hashlib.sha256(crop.tobytes()).hexdigest() for crop in pixels]
        store = self._store(pixels.shape[1])
        parts = []
        for start in range(0, len(pixels), self.batch_size):
            batch, keys = pixels[start : start + self.batch_size], digests[start : start + self.batch_size]
            found = [store.get(digest, wanted) for digest in keys] if store else []
            known = [arrays for arrays in found if arrays is not None]
            if len(known) == len(keys):
                parts.append({layer: np.stack([arrays[layer] for arrays in known]) for layer in wanted})
                continue
            # the whole batch, though some may be known: on some devices rounding depends on the batch
            parts.append(self.backbone.extract(batch, wanted))
            if store:
                for row, digest in enumerate(keys):
                    store.put(digest, {layer: array[row] for layer, array in parts[-1].items()})
        return {name: np.concatenate([part[layer] for part in parts]) for name, layer in names.items()}

    def _store(self, size: int) -> FeatureStore | None:
        if self._beside is None:
            return None
        if size not in self._stores:
            spec = {**self.backbone.fingerprint(), "size": size, "input": "crops"}
            self._stores[size] = FeatureStore(self._beside.cache, spec, self._beside.limit_bytes)
        return self._stores[size]
