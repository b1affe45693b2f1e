"""From settings to the parts of a run: method, backbone, feature store."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from .config import LabelConfig
from .errors import UsageError
from .methods.base import Method, Recuttable, create_method, load_method

logger = logging.getLogger(__name__)

__all__ = ["create_configured", "load_configured_backbone", "load_fitted", "open_store"]


def create_configured(config: LabelConfig, refine: str) -> Method:
    """Build the unfitted method that ``config`` names; ``refine`` is the refinement that was resolved.

    Raises:
        UsageError: unknown method or option, or an option for which there is a setting.
    """
    fixed = {
        "n_classes": config.classes,
        "random_state": config.seed,
        "refine": refine,
        "n_jobs": config.jobs,
    }
    twice = sorted(fixed.keys() & config.options)
    if twice:
        raise UsageError(f"{', '.join(twice)} cannot be an option of the method: there is a setting for it")
    return create_method(config.method, **fixed, **config.options)


def load_fitted(model: Path, recut: int | None) -> Method:
    """Load a fitted method, cut into ``recut`` other classes unless that is ``None``.

    Raises:
        UsageError: ``model`` holds no fitted method, or one that cannot be cut so.
    """
    method = load_method(model)
    if recut is None:
        return method
    if not isinstance(method, Recuttable):
        raise UsageError(
            f"{method.name} cannot be cut into another number of classes: run it again with --classes {recut}"
        )
    return method.recut(recut)


def load_configured_backbone(name: str | None, config: LabelConfig, fitted_in: str | None = None) -> Any:
    """Load a backbone on the device and in the precision that ``config`` names.

    Args:
        name: the backbone; ``None`` for the default.
        config: settings; its precision may be ``auto``.
        fitted_in: the precision that a model was fitted in: ``auto`` then means that one, whatever this
            machine would choose, so that the model labels the same images the same everywhere.
    """
    from .backbones import load_backbone
    from .paths import cache_dir

    precision = fitted_in if fitted_in and config.precision == "auto" else config.precision
    return load_backbone(name, cache_dir=cache_dir(), device=config.device, precision=precision)


def open_store(backbone: Any, size: int, config: LabelConfig) -> Any:
    """Open the feature store of a backbone and input size.

    Returns:
        The store; ``None`` where ``config`` wants none, or, with a warning, where the disk cannot be written
        and holds nothing of these features.

    Raises:
        UsageError: the cache is no folder, or damaged.
    """
    if not config.cache:
        return None
    from .features.source import store_spec
    from .features.store import FeatureStore, cannot_be_written
    from .paths import cache_dir

    try:
        return FeatureStore(cache_dir(), store_spec(backbone, size), limit_bytes=config.cache_limit)
    except UsageError as error:
        if not cannot_be_written(error.__cause__):
            raise
        logger.warning("%s. This run goes on without, and computes features when it needs them", error)
        return None
