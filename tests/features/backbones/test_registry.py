"""Which weights are here, asked without loading what would load them."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache

from fiftyone_plugin.features.backbones.registry import DEFAULT_BACKBONE, _hub_cache, is_here


def test_agrees_with_the_hub_client(monkeypatch):
    """The same file, asked through the client that will load it."""
    folder = Path(constants.HF_HUB_CACHE) if not constants.HF_HUB_CACHE.startswith("~") else None
    assert folder is not None
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert _hub_cache() == folder
    found = try_to_load_from_cache(f"timm/{DEFAULT_BACKBONE}", "model.safetensors")
    assert is_here(DEFAULT_BACKBONE) == isinstance(found, str)
