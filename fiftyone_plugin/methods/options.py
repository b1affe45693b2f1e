"""What the options of all methods have in common; light, as it is read for help texts."""

from __future__ import annotations

from dataclasses import dataclass

from ..common.checks import SEEDS, Choice, Number, Options, option
from ..common.classes import MAX_ID
from ..errors import UsageError
from ..masks.refine import REFINERS

__all__ = ["CLASSES", "LAYER", "RUN_SETTINGS", "MethodConfig", "PatchLayer"]

CLASSES = Number(1, MAX_ID)
RUN_SETTINGS = ("n_classes", "refine", "random_state")
"""Options for which a run has settings of its own: ``classes``, ``refine`` and ``seed``."""


class PatchLayer:
    """A rule: the name of patch features, see :mod:`fiftyone_plugin.features.backbones.vit`."""

    def check(self, name: str, value: object) -> str:
        """Return the name, see :class:`~fiftyone_plugin.common.checks.Rule`."""
        if not isinstance(value, str) or value in ("cls", "attn"):
            raise UsageError(f"{name} must be {self}, got {value!r:.200}")
        return value

    def __str__(self) -> str:
        return "patch features (out, t<block>, k<block>; negative blocks count from the last)"


LAYER = PatchLayer()


@dataclass(frozen=True)
class MethodConfig(Options):
    """Base of the options of a method; ``n_classes`` is declared by each, as some can find it."""

    refine: str = option("crf", Choice(tuple(REFINERS)), "refinement of the masks, as resolved by the run")
    random_state: int = option(0, SEEDS, "seed of everything random")
