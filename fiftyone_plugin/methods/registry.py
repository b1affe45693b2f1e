"""."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import UsageError, unknown
from .base import Method

__all__ = ["create_method", "list_methods"]


def _registry() -> dict[str, Callable[..., Method]]:
    from .alignseg.method import AlignSeg
    from .datus.method import DatUS
    from .lightcluster.method import LightCluster
    from .mosaic.method import Mosaic

    return {"mosaic": Mosaic, "lightcluster": LightCluster, "datus": DatUS, "alignseg": AlignSeg}


def list_methods() -> list[str]:
    """Return the names of the methods."""
    return list(_registry())


def create_method(name: str, /, **config: Any) -> Method:
    """Build an unfitted method by name.

    Raises:
        UsageError: unknown name or option.
    """
    methods = _registry()
    if name not in methods:
        raise unknown("method", name, methods)
    try:
        return methods[name](**config)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"method {name}: {error}") from error
