"""The options of Taught."""

from __future__ import annotations

from dataclasses import dataclass

from ...common.checks import Number, option
from ..mosaic.config import MosaicConfig

__all__ = ["TaughtConfig"]


@dataclass(frozen=True)
class TaughtConfig(MosaicConfig):
    """Options of :class:`~.method.Taught`: those of Mosaic, whose clusters stand behind the classes."""

    discover: int = option(
        0, Number(0, 255), "clusters that no labelled image shows and that stay as classes of their own"
    )
