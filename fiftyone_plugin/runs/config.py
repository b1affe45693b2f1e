"""Settings of a run."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from ..common.checks import Number, check_numbers
from ..errors import MissingDependencyError, UsageError
from ..masks.crf import INSTALL_HINT
from ..masks.refine import create_refiner, crf_available
from ..methods import DEFAULT_METHOD

__all__ = ["PRESETS", "LabelConfig", "resolve_refinement"]

logger = logging.getLogger(__name__)

GIB = 1024**3
NUMBERS = {
    "size": Number(14, 4096),
    "seed": Number(0, 2**32 - 2),
    "batch_size": Number(1, optional=True),
    "jobs": Number(0),
    "cache_limit": Number(0),
    "recut": Number(1, 65_535, optional=True),
}


PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"refine": "none", "options": {"cue_regions": 0, "sample_size": 32_768, "spread": False}},
    "best": {"refine": "crf"},  # the defaults; nothing that was tried on top of them was better
}
"""Settings around the default method, see docs/mosaic.md."""


@dataclass
class LabelConfig:
    """Settings of a run; every one has a default.

    Attributes:
        preset: ``fast`` or ``best``, for the default method: sets what is not set otherwise (a value that
            equals the default counts as not set), see :data:`PRESETS`; ``None`` for the defaults.
        method: name of the method.
        classes: number of classes K of the data set; ``auto`` where the method can find it (mosaic).
        backbone: backbone name or checkpoint path, ``None`` for the default.
        size: side of the network input in pixels.
        recut: with a fitted model: cut it into this number of classes, without fitting (mosaic).
        refine: ``crf``, ``none``, or ``None`` for crf where it is installed.
        seed: seed of everything random.
        device: torch device or ``auto``.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        batch_size: images in a forward pass, ``None`` for 4 on a CPU and 32 on other devices.
        jobs: worker processes for per-image work, 0 for all cores.
        cache: keep features on disk for other runs.
        cache_limit: bytes that the cache may take.
        options: further constructor arguments of the method.
    """

    preset: str | None = None
    method: str = DEFAULT_METHOD
    classes: int | Literal["auto"] = 20
    recut: int | None = None
    backbone: str | None = None
    size: int = 448
    refine: str | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    jobs: int = 0
    cache: bool = True
    cache_limit: int = 20 * GIB
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.preset is None:
            return
        if self.preset not in PRESETS:
            raise UsageError(f"unknown preset {self.preset!r}; known: {', '.join(PRESETS)}")
        if self.method != DEFAULT_METHOD:
            raise UsageError(f"presets are of the default method, {DEFAULT_METHOD}, not of {self.method}")
        settings = dict(PRESETS[self.preset])
        self.options = {**settings.pop("options", {}), **self.options}
        defaults = {item.name: item.default for item in fields(self)}
        for name, value in settings.items():
            if getattr(self, name) == defaults[name]:
                setattr(self, name, value)

    def validate(self) -> None:
        """Check what can be checked without loading anything heavy.

        Raises:
            UsageError: a value is out of range.
        """
        check_numbers(vars(self), NUMBERS)
        if self.classes != "auto":
            check_numbers(vars(self), {"classes": Number(1, 65_535)})
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise UsageError(f"unknown precision {self.precision!r}; known: auto, float32, bfloat16")


def resolve_refinement(refine: str | None) -> str:
    """Return the refiner to use; without a wish, ``crf`` where pydensecrf is installed.

    Where it is not, one line says that refinement is skipped.

    Raises:
        MissingDependencyError: ``crf`` was asked for and is not installed.
    """
    if refine is None:
        if not crf_available():
            logger.warning("refinement is skipped: pydensecrf is not installed; to add it: %s", INSTALL_HINT)
        return "crf" if crf_available() else "none"
    create_refiner(refine)
    if refine == "crf" and not crf_available():
        raise MissingDependencyError(
            f"refinement 'crf' needs pydensecrf: {INSTALL_HINT}; or use --refine none"
        )
    return refine
