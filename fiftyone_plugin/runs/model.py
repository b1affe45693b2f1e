"""."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from ..common.checks import check_numbers
from ..common.files import atomic, write_json
from ..common.untrusted import read_json, validate
from ..errors import UsageError
from ..masks.refine import create_refiner
from ..methods.base import ARRAYS_NAME, METHOD_NAME, WHAT, Method, Recuttable, _Document, _read_arrays
from ..methods.registry import create_method
from .config import LabelConfig
from .provenance import NUMBERS, _Pipeline

__all__ = [
    "FORMAT",
    "PIPELINE_NAME",
    "check_weights",
    "create_configured",
    "describe_model",
    "load_configured_backbone",
    "load_fitted",
    "load_method",
    "logger",
    "open_store",
    "read_model",
    "save_method",
]

FORMAT = 1


def save_method(method: Method, directory: Path) -> None:
    """Write a fitted method as ``method.json`` and ``arrays.safetensors`` into ``directory``.

    Raises:
        OSError: the disk is full or refuses; what was there stays whole.
        PseudoMaskError: the same, of ``method.json``.
    """
    from safetensors.numpy import save

    values, arrays = method.get_state()
    directory.mkdir(parents=True, exist_ok=True)
    # to memory first: safetensors tells of a full disk by an error of its own, and leaves half a file
    content = save({k: np.ascontiguousarray(v) for k, v in arrays.items()})
    with atomic(directory / ARRAYS_NAME) as partial:
        partial.write_bytes(content)
    document = {"format": FORMAT, "method": method.name, "config": method.get_config(), "state": values}
    write_json(directory / METHOD_NAME, document)


def load_method(directory: Path) -> Method:
    """Load what :func:`save_method` wrote; whatever else is there is refused, also by its contents.

    Raises:
        UsageError: the directory holds no fitted method of a format this version reads.
    """
    path = directory / METHOD_NAME
    try:
        document = read_json(path, what=WHAT)
        found = document.get("format", FORMAT) if isinstance(document, dict) else FORMAT
        if found != FORMAT:
            raise UsageError(f"it was written in format {found!s:.20}, this version reads {FORMAT}")
        saved = validate(document, _Document, path=path, what=WHAT)
        method = create_method(saved.method, **saved.config)
        method.set_state(saved.state, _read_arrays(directory / ARRAYS_NAME))
        return method
    except KeyError as error:
        raise UsageError(f"{directory} holds no fitted method: it lacks {error}") from error
    except UsageError as error:
        raise UsageError(f"{directory} holds no fitted method: {error}") from error


PIPELINE_NAME = "pipeline.json"


def describe_model(backbone: Any, size: int, refine: str, seed: int) -> dict[str, Any]:
    """Return what must be known beside the fitted method to label new images in the same way."""
    return {
        "backbone": backbone.loaded.source,
        "weights_sha256": backbone.loaded.state_sha256,
        "precision": backbone.precision,
        "size": size,
        "refine": refine,
        "seed": seed,
    }


def read_model(model: Path) -> dict[str, Any]:
    """Read what :func:`describe_model` returned from the folder of a fitted model.

    Raises:
        UsageError: it is not there, not complete, or names a size or refinement that cannot be.
    """
    path = model / PIPELINE_NAME
    what = "the description of a fitted model"
    try:
        document = read_json(path, what=what)
        found = validate(document, _Pipeline, path=path, what=what)
        check_numbers(vars(found), NUMBERS)
        create_refiner(found.refine)
    except UsageError as error:
        raise UsageError(
            f"{model} is not the model folder of a run (no readable {PIPELINE_NAME}): {error}"
        ) from error
    return document


def check_weights(saved: dict[str, Any], backbone: Any) -> None:
    """Compare a backbone with the one that a model was fitted with.

    Raises:
        UsageError: it has other weights.
    """
    if saved["weights_sha256"] != backbone.loaded.state_sha256:
        raise UsageError(
            f"the model was fitted with other weights than {backbone.name} has here "
            f"({saved['weights_sha256'][:12]} against {backbone.loaded.state_sha256[:12]}); "
            f"use the weights it was fitted with"
        )


logger = logging.getLogger(__name__)


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
    from ..common.paths import cache_dir
    from ..features.backbones import load_backbone

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
    from ..common.paths import cache_dir
    from ..features.source import store_spec
    from ..features.store import FeatureStore, cannot_be_written

    try:
        return FeatureStore(cache_dir(), store_spec(backbone, size), limit_bytes=config.cache_limit)
    except UsageError as error:
        if not cannot_be_written(error.__cause__):
            raise
        logger.warning("%s. This run goes on without, and computes features when it needs them", error)
        return None
