"""What can be exported: images with masks, their tags and qualities, in a fixed order."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..common.skipped import Skipped
from ..masks.rules import FIFTYONE, MaskRules

__all__ = ["ExportItem", "ExportSource", "Skipped", "key_suffix"]


def key_suffix(key: str) -> str:
    """Return what a key ends in, with the dot."""
    return posixpath.splitext(key)[1]


@dataclass(frozen=True)
class ExportItem:
    """One image with its mask.

    Attributes:
        key: relative POSIX path of the image, unique, without ``..``.
        stem: relative POSIX path without extension for the files of this image in the export, unique even
            where case does not count.
        image: path of the image file.
        mask: path of the mask file, or the (H, W) mask itself where a database holds it.
        instances: the same for a map of instances, ``None`` where there is none.
        tags: what splits are made of.
        quality: of the mask, in [0, 1]; ``None`` if unknown. Use :attr:`known_quality`: a source may hold
            anything.
        suffix: extension of the image in the export, with its dot; ``None`` for that of the key.
    """

    key: str
    stem: str
    image: str
    mask: str | np.ndarray
    instances: str | np.ndarray | None = None
    tags: tuple[str, ...] = ()
    quality: float | None = None
    suffix: str | None = None

    @property
    def known_quality(self) -> float | None:
        """The quality if it is one, a number in [0, 1]; NaN, infinities, 40 and text say nothing."""
        value: object = self.quality
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        return float(value) if number and 0 <= value <= 1 else None  # type: ignore[arg-type, operator]

    @property
    def placed(self) -> str:
        """Path of the image in the export: the key, unless another key has the same stem."""
        return self.stem + (key_suffix(self.key) if self.suffix is None else self.suffix)


@dataclass
class ExportSource:
    """A data set to export.

    Attributes:
        name: what it is called in messages and in the export's description.
        items: returns an iterator over the items, always in the same order.
        total: how many there are.
        names: mask id -> class name; ``None`` if unknown: then the masks are read to find their ids.
        supercategories: class name -> supercategory, where known.
        folders: folders that hold the source's files: an export must not replace them.
        skipped: images without a usable mask.
        rules: what the pixels of its mask files mean.
        hidden: mask ids of classes that a person has hidden: unlabelled in the export.
        provenance: facts about the masks for the export's record, JSON-serialisable.
    """

    name: str
    items: Callable[[], Iterator[ExportItem]]
    total: int
    names: dict[int, str] | None
    supercategories: dict[str, str] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    skipped: list[Skipped] = field(default_factory=list)
    hidden: tuple[int, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    rules: MaskRules = FIFTYONE
