"""The formats of an export: their names, what they make of an image, and which writer collects that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..common.files import is_safe_name
from ..errors import UsageError
from ..masks.segments import Segments, find_segments
from .categories import Categories
from .items import ExportItem
from .media import MEDIA_MODES

__all__ = ["Converted", "ExportOptions", "Format", "Sample", "Writer"]

SMALL_MODES = ("drop", "merge")
QUALITY_MODES = ("drop", "mark")


@dataclass(frozen=True)
class ExportOptions:
    """Choices of an export; every format uses those that mean something to it.

    Attributes:
        min_area: connected components of fewer pixels are removed.
        small: what becomes of them: ``drop`` (unlabelled) or ``merge`` (the neighbour's label).
        min_quality: masks of lower quality are dropped or marked; ``None``: no matter.
        low_quality: ``drop`` or ``mark``.
        images: ``copy``, ``symlink`` or ``reference``.
        splits: tags; each becomes a split of that name. Images without any of them are left out.
        polygons: COCO instances as polygons instead of RLE.
        tolerance: pixels by which polygons may deviate; 0: exact.
        connectivity: 4 or 8: which pixels are connected where components become instances.
        border: VOC: pixels on both sides of boundaries that become void.
        void: VOC: unlabelled pixels become void (255) instead of background (0).
        like: COCO results: a COCO file whose image and category ids are used, matched by names.
    """

    min_area: int = 0
    small: str = "drop"
    min_quality: float | None = None
    low_quality: str = "drop"
    images: str = "copy"
    splits: tuple[str, ...] = ()
    polygons: bool = False
    tolerance: float = 0
    connectivity: int = 4
    border: int = 0
    void: bool = False
    like: str | None = None

    def validate(self) -> None:
        """Check values.

        Raises:
            UsageError: a value is impossible.
        """
        _one_of("small", self.small, SMALL_MODES)
        _one_of("low_quality", self.low_quality, QUALITY_MODES)
        _one_of("images", self.images, MEDIA_MODES)
        _one_of("connectivity", self.connectivity, (4, 8))
        for name in ("min_area", "tolerance", "border"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{name} must be 0 or more, not {getattr(self, name)!r}")
        if self.min_quality is not None and not 0 <= self.min_quality <= 1:
            raise UsageError(f"min_quality must be within 0..1, not {self.min_quality!r}")
        if len(set(self.splits)) < len(self.splits):
            raise UsageError("a split is named twice")
        for split in self.splits:
            if not is_safe_name(split) or any(c in split for c in "/\\:") or split.startswith("."):
                raise UsageError(f"split {split!r} cannot be part of a file name; rename the tag")

    def to_dict(self) -> dict[str, Any]:
        """Return the options, JSON-serialisable."""
        return asdict(self)


def _one_of(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(map(str, choices))}, not {value!r}")


@dataclass(frozen=True)
class Sample:
    """An image of an export as a converter sees it.

    Attributes:
        item: where it comes from.
        split: the split it belongs to, empty without splits.
        labels: (H, W) uint16 category ids, 0 is unlabelled.
        instances: (H, W) given instances, or ``None``.
        low: its quality is below the limit, and such are marked.
        categories: of the export.
        options: of the export.
    """

    item: ExportItem
    split: str
    labels: np.ndarray
    instances: np.ndarray | None
    low: bool
    categories: Categories
    options: ExportOptions

    @property
    def attributes(self) -> dict[str, Any]:
        """``quality``, and ``low_quality`` where it is marked."""
        known = self.item.known_quality
        quality = {} if known is None else {"quality": known}
        return {**quality, "low_quality": True} if self.low else quality

    @property
    def file_name(self) -> str:
        """Name of the image: relative to the images' folder, or absolute where images stay in their place."""
        return self.item.image if self.options.images == "reference" else self.item.placed

    def segments(self, *, stuff_whole: bool) -> Segments:
        """Return instances: the given ones, else connected components.

        Args:
            stuff_whole: categories that are not countable are one segment each.
        """
        return find_segments(
            self.labels,
            whole=self.categories.stuff_ids if stuff_whole else (),
            instances=self.instances,
            connectivity=self.options.connectivity,
        )


@dataclass(frozen=True)
class Converted:
    """What a format makes of an image.

    Attributes:
        sample_key: key of the image.
        split: its split.
        stem: its stem.
        low: marked for its quality.
        image: the image's entry as JSON text without the opening brace and ids; empty if there is none.
        entries: annotations, likewise.
        count: segments or label lines; 0 where the format does not count.
    """

    sample_key: str
    split: str
    stem: str
    low: bool = False
    image: str = ""
    entries: list[str] = field(default_factory=list)
    count: int = 0


class Writer(Protocol):
    """Collects converted images in the main process, in order."""

    def add(self, converted: Converted) -> None:
        """Add an image."""

    def finish(self) -> None:
        """Write what is left and close all files."""

    def abandon(self) -> None:
        """Close all files of an export that failed."""


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        name: as users write it.
        description: one line.
        images_folder: where images go, below the export; ``{split}`` stands for the split's folder.
        convert: makes a :class:`Converted` of a sample, writing files of its own below the folder given; runs
            in worker processes.
        writer: opened with folder, categories, options, and the COCO ``info``.
        check: refuses categories and options that the format cannot express.
        places_images: whether images are part of the export.
        folder: returns what a folder of the source, or a split, is called in the export.
    """

    name: str
    description: str
    images_folder: str
    convert: Callable[[Sample, Path], Converted]
    writer: Callable[[Path, Categories, ExportOptions, dict[str, Any]], Writer]
    check: Callable[[Categories, ExportOptions], None] = lambda categories, options: None
    places_images: bool = True
    folder: Callable[[str], str] = lambda name: name
