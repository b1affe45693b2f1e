"""Settings of a run."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from .errors import MissingDependencyError, UsageError
from .refinement import create_refiner, crf_available
from .refinement.crf import INSTALL_HINT

__all__ = ["LabelConfig", "resolve_refinement"]

logger = logging.getLogger(__name__)

GIB = 1024**3


@dataclass
class LabelConfig:
    """Settings of a run; every one has a default.

    Attributes:
        method: name of the method.
        classes: number of classes K of the data set.
        backbone: backbone name or checkpoint path, ``None`` for the default.
        size: side of the network input in pixels.
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

    method: str = "lightcluster"
    classes: int = 20
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

    def validate(self) -> None:
        """Check what can be checked without loading anything heavy.

        Raises:
            UsageError: a value is out of range.
        """
        if not 1 <= self.classes <= 65_535:
            raise UsageError(f"the number of classes must be within 1..65535, got {self.classes}")
        if not 14 <= self.size <= 4096:
            raise UsageError(f"the input size must be within 14..4096 pixels, got {self.size}")
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"the batch size must be at least 1, got {self.batch_size}")
        if not 0 <= self.seed < 2**32 - 1:
            raise UsageError(f"the seed must be within 0..{2**32 - 2}, got {self.seed}")
        if self.cache_limit < 0:
            raise UsageError(f"the limit of the cache must not be negative, got {self.cache_limit}")
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
