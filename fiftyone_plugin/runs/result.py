"""What a run has produced."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..images.left_out import LeftOut
from .samples import SampleRow

__all__ = ["LabelResult"]


@dataclass
class LabelResult:
    """What a run produced; the same content as its folder.

    Attributes:
        out: the run's folder.
        samples: a row an image, in the order of the keys.
        class_names: class id -> name.
        run: the content of ``run.json``.
        left_out: pictures that were found beside the images but cannot be decoded here, and folders of
            results of earlier runs.
    """

    out: Path
    samples: list[SampleRow]
    class_names: dict[int, str]
    run: dict[str, Any]
    left_out: LeftOut = field(default_factory=LeftOut)

    @property
    def labelled(self) -> list[SampleRow]:
        """Rows with a mask."""
        return [row for row in self.samples if row.status == "labelled"]

    @property
    def skipped(self) -> list[SampleRow]:
        """Rows without a mask, with their reasons."""
        return [row for row in self.samples if row.status != "labelled"]

    def mask_path(self, row: SampleRow) -> Path:
        """Return the path of a row's mask."""
        return self.out / "masks" / row.mask

    def confidence_path(self, row: SampleRow) -> Path:
        """Return the path of the confidence map beside a row's mask: (h, w) uint8, margin x 255."""
        return self.out / "confidence" / row.mask
