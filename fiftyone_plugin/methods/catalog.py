"""An earlier place of :data:`.registry.CATALOG`."""

from .registry import CATALOG, MethodNote

__all__ = ["CATALOG", "MethodNote"]
