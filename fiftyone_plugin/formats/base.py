"""What an export is made of: images with masks, choices, and formats with what they make of an image."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, ClassVar

import numpy as np

from ..common.files import is_safe_name
from ..common.skipped import Skipped
from ..errors import UsageError
from ..masks.instances import split_touching
from ..masks.rules import FIFTYONE, MaskRules
from ..masks.segments import Segments, find_segments
from .categories import Categories
from .media import MEDIA_MODES
from .staging import NAMES, writing

__all__ = ["Converted", "ExportItem", "ExportOptions", "ExportSource", "Sample", "Writer", "known_quality"]

CHOICES: dict[str, tuple[object, ...]] = {
    "small": ("drop", "merge"),
    "low_quality": ("drop", "mark"),
    "images": MEDIA_MODES,
    "connectivity": (4, 8),
}
DRAWN = ("train", "val")  # the splits that ``val`` makes


def known_quality(value: object) -> float | None:
    """Return a number in [0, 1]; ``None`` for NaN, infinities, 40 and text, which say nothing."""
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value <= 1 else None


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
        confidence: path of the map of confidence, (h, w) from 0 to 255; ``None`` where there is none.
    """

    key: str
    stem: str
    image: str
    mask: str | np.ndarray
    instances: str | np.ndarray | None = None
    tags: tuple[str, ...] = ()
    quality: float | None = None
    suffix: str | None = None
    confidence: str | None = None

    @property
    def known_quality(self) -> float | None:
        """The quality if it is one, see :func:`known_quality`."""
        return known_quality(self.quality)

    @property
    def placed(self) -> str:
        """Path of the image in the export: the key, unless another key has the same stem."""
        return self.stem + (posixpath.splitext(self.key)[1] if self.suffix is None else self.suffix)


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
    provenance: dict[str, object] = field(default_factory=dict)
    rules: MaskRules = FIFTYONE


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
        instances: cut connected components at their necks, so that touching objects of a class are several.
        border: VOC: pixels on both sides of boundaries that become void.
        void: VOC: unlabelled pixels become void (255) instead of background (0).
        like: COCO results: a COCO file whose image and category ids are used, matched by names.
        min_confidence: pixels of lower confidence, in [0, 1], become unlabelled.
        val: share of the images that become a split ``val``, the others ``train``; instead of ``splits``.
        seed: which images these are.
        background: formats to train on: unlabelled pixels are a class of this name, id 0, instead of 255.

    Raises:
        UsageError: a value is impossible.
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
    instances: bool = False
    border: int = 0
    void: bool = False
    like: str | None = None
    min_confidence: float = 0
    val: float = 0
    seed: int = 0
    background: str = ""

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                listed = ", ".join(map(str, choices))
                raise UsageError(f"{name} must be one of {listed}, not {getattr(self, name)!r}")
        for name in ("min_area", "tolerance", "border"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{name} must be 0 or more, not {getattr(self, name)!r}")
        for name in ("min_quality", "min_confidence"):
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise UsageError(f"{name} must be within 0..1, not {getattr(self, name)!r}")
        if not 0 <= self.val < 1:
            raise UsageError(
                f"val must be a share of the images, 0 or more and less than 1, not {self.val!r}"
            )
        if self.val and self.splits not in ((), DRAWN):
            raise UsageError("val draws the splits train and val: name no other splits beside it")
        if self.val:
            object.__setattr__(self, "splits", DRAWN)
        if len(set(self.splits)) < len(self.splits):
            raise UsageError("a split is named twice")
        for split in self.splits:
            if not is_safe_name(split) or any(c in split for c in "/\\:") or split.startswith("."):
                raise UsageError(f"split {split!r} cannot be part of a file name; rename the tag")


@dataclass(frozen=True)
class Sample:
    """An image of an export as a converter sees it.

    Attributes:
        item: where it comes from.
        split: the split it belongs to, empty without splits.
        labels: (H, W) uint16 category ids, 0 is unlabelled.
        instances: (H, W) given instances, or ``None``.
        low: its quality is below the limit, and such are marked.
        unsure: (H, W) bool, pixels that are unlabelled for want of confidence; ``None``: no matter.
    """

    item: ExportItem
    split: str
    labels: np.ndarray
    instances: np.ndarray | None
    low: bool
    categories: Categories
    options: ExportOptions
    unsure: np.ndarray | None = None

    @property
    def attributes(self) -> dict[str, object]:
        """``quality``, and ``low_quality`` where it is marked."""
        known = self.item.known_quality
        quality: dict[str, object] = {} if known is None else {"quality": known}
        return {**quality, "low_quality": True} if self.low else quality

    @property
    def file_name(self) -> str:
        """Name of the image: relative to the images' folder, or absolute where images stay in their place."""
        return self.item.image if self.options.images == "reference" else self.item.placed

    def segments(self, *, stuff_whole: bool) -> Segments:
        """Return instances: the given ones, else connected components, cut at their necks if asked for.

        Args:
            stuff_whole: categories that are not countable are one segment each.
        """
        instances, connectivity = self.instances, self.options.connectivity
        if instances is None and self.options.instances:
            instances = split_touching(self.labels, connectivity=connectivity)
        return find_segments(
            self.labels,
            whole=self.categories.stuff_ids if stuff_whole else (),
            instances=instances,
            connectivity=connectivity,
        )

    def converted(self, count: int, image: str = "", entries: list[str] | None = None) -> Converted:
        """Return what a format has made of it, see :class:`Converted`."""
        return Converted(self.item.key, self.split, self.item.stem, self.low, image, entries or [], count)


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


class Writer:
    """A format: what it makes of an image in worker processes, and what collects that in the main one.

    An instance belongs to one export; it takes converted images in order, here into text files with a line
    an image.

    Attributes:
        name: as users write it.
        description: one line.
        images_folder: where images go, below the export; ``{split}`` stands for the split's folder.
        places_images: whether images are part of the export.
        info: what COCO files say of themselves.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    images_folder: ClassVar[str] = "images"
    places_images: ClassVar[bool] = True

    @staticmethod
    def folder_name(name: str) -> str:
        """Return what a folder of the source, or a split, is called in the export."""
        return name

    @classmethod
    def check(cls, categories: Categories, options: ExportOptions) -> None:
        """Refuse what the format cannot express."""

    @classmethod
    def convert(cls, sample: Sample, folder: Path) -> Converted:
        """Return what the format makes of a sample; files of its own go below the folder."""
        raise NotImplementedError

    def __init__(
        self, folder: Path, categories: Categories, options: ExportOptions, info: dict[str, str]
    ) -> None:
        self.folder, self.categories, self.options, self.info = folder, categories, options, info
        self._files: dict[str, IO[str]] = {}
        self.start()

    def start(self) -> None:
        """Make what is there whatever images come."""

    def open(self, name: str) -> None:
        """Make a file, so that it is there even if it stays empty."""
        if name not in self._files:
            with writing(self.folder / name, make_folder=True):
                file = (self.folder / name).open("w", encoding="utf-8", errors=NAMES, newline="\n")
                self._files[name] = file

    def text(self, name: str, text: str) -> None:
        """Add text to a file."""
        self.open(name)
        with writing(self.folder / name):
            self._files[name].write(text)

    def add(self, converted: Converted) -> None:
        """Add an image; here: note it where it is marked."""
        if converted.low:
            self.text("low_quality.txt", f"{converted.stem}\n")

    def finish(self) -> None:
        """Write what is left and close all files."""
        for name, file in self._files.items():
            with writing(self.folder / name):
                file.close()

    def abandon(self) -> None:
        """Close all files of an export that failed."""
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()
