"""COCO files of anybody: every entry is checked by itself, and what cannot be used is named.

One bad entry costs itself and nothing else: an annotation without outline, of an image or a category that the
file does not have, with coordinates that are no numbers. Ids may be numbers or texts; ``"1"`` stands for 1
where the file has no other ``"1"``.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from ..common.matching import split_path
from ..common.skipped import Skipped
from ..common.text import short_repr
from ..common.untrusted import read_json
from ..errors import UsageError

__all__ = ["CocoFile", "CocoImage", "LostAnnotation", "read_coco"]

T = TypeVar("T")

MAX_BYTES = 16 << 30  # of a file; it has to fit into memory besides
MAX_ID = 65_535  # of a mask
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
SHOWN = 60  # characters of a stranger's value in a message


@dataclass(frozen=True)
class LostAnnotation(Skipped):
    """An annotation, or a segment of a panoptic one, that is in no mask."""


@dataclass
class CocoImage:
    """One image of the file.

    Attributes:
        name: its ``file_name``.
        height: in pixels, ``None`` where the file does not say.
        width: likewise.
        entries: its annotations, each with the mask id of its category.
        named: how many annotations name it, usable or not.
        problem: why its annotations are not known, e.g. another image has its id; usually empty.
    """

    name: str
    height: int | None
    width: int | None
    entries: list[tuple[dict[str, object], int]] = field(default_factory=list)
    named: int = 0
    problem: str = ""


@dataclass
class CocoFile:
    """What could be used of a COCO file.

    Attributes:
        path: the file.
        images: images, in the order of the file, each path once.
        names: mask id -> class name.
        lost: what could not be used, with reasons: entries of images, categories and annotations.
        mask_id: category id, as a segment of a panoptic annotation gives it -> mask id, or an error.
    """

    path: Path
    images: list[CocoImage]
    names: dict[int, str]
    lost: list[Skipped]
    _categories: _Ids[int]

    def mask_id(self, category: object) -> int:
        """Return the mask id of a category.

        Raises:
            UsageError: there is none, or several may be meant.
        """
        return self._categories.find(category, "category")


def read_coco(path: Path) -> CocoFile:
    """Read a COCO file: instances, stuff or panoptic.

    Raises:
        UsageError: not readable, no such file, with too many categories, without one usable image, or with
            annotations of which none has its image and category.
    """
    try:
        return _read(path)
    except MemoryError:
        raise UsageError(f"{path} is too large for the memory of this machine; split it into parts") from None


def _read(path: Path) -> CocoFile:
    document = read_json(path, what="a COCO file", max_bytes=MAX_BYTES, finite=False)
    for name in ("images", "annotations"):
        if not isinstance(document, dict) or not isinstance(document.get(name), list):
            raise UsageError(f"{path} is not a COCO file of images and annotations: it has no list of {name}")
    lost: list[Skipped] = []
    images, by_id = _images(document["images"], lost)
    if not images:
        first = f"; first: {lost[0]}" if lost else ""
        raise UsageError(f"{path} is not a COCO file of images and annotations: no usable image{first}")
    categories = document.get("categories")
    if not isinstance(categories, list):  # then an id is all that is known of a category
        categories = [{"id": id_} for id_ in _category_ids(document["annotations"])]
    names, mask_ids = _categories(categories, path, lost)
    file = CocoFile(path, images, names, lost, mask_ids)
    for position, entry in enumerate(document["annotations"]):
        _place(entry, position, by_id, file)
    if document["annotations"] and not any(image.entries for image in images):
        first = next((str(e) for e in lost if isinstance(e, LostAnnotation)), "")
        raise UsageError(
            f"no mask of {path} can be made: none of its {len(document['annotations'])} annotations can be "
            f"used. First: {first}"
        )
    return file


# ---------------------------------------------------------------------- ids


class _Ids(Generic[T]):
    """What ids stand for; ``1`` and ``"1"`` are one id where only one of them is in use."""

    def __init__(self) -> None:
        self._found: dict[Hashable, list[T]] = defaultdict(list)
        self._loose: dict[Hashable, set[Hashable]] = defaultdict(set)

    def add(self, key: Hashable, value: T) -> None:
        if value not in self._found[key]:
            self._found[key].append(value)
        self._loose[_loose(key)].add(key)

    def shared(self) -> list[tuple[Hashable, list[T]]]:
        """Return the ids that stand for several things, with these."""
        return [(key, values) for key, values in self._found.items() if len(values) > 1]

    def find(self, id_: object, what: str) -> T:
        """Return what an id stands for.

        Raises:
            UsageError: nothing, or several things.
        """
        key = id_key(id_)
        if key is None:
            raise UsageError(
                f"no id of its {what}" if id_ is None else f"{short_repr(id_)} is no id of its {what}"
            )
        keys = {key} if key in self._found else self._loose.get(_loose(key), set())
        values = [value for found in keys for value in self._found[found]]
        if not values:
            raise UsageError(f"no {what} of id {short_repr(id_)}")
        if len(values) > 1:
            raise UsageError(f"{len(values)} entries of the id {short_repr(id_)} of its {what}")
        return values[0]


def id_key(value: object) -> Hashable | None:
    """Return an id as it is compared, ``None`` for what is no id."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) in (int, str) else None


def _loose(key: Hashable) -> Hashable:
    return int(key) if isinstance(key, str) and _NUMBER.fullmatch(key.strip()) else key


# ---------------------------------------------------------------------- images


def _images(entries: list[object], lost: list[Skipped]) -> tuple[list[CocoImage], _Ids[int]]:
    """Return the images, and id -> position in them."""
    images: list[CocoImage] = []
    by_id: _Ids[int] = _Ids()
    by_path: dict[tuple[str, tuple[str, ...]], int] = {}
    for position, entry in enumerate(entries):
        key = f"entry {position} of the images"
        try:
            if not isinstance(entry, dict):
                raise UsageError("it is no object")
            image = _image(entry)
            key = image.name
            id_ = id_key(entry.get("id"))
            if id_ is None:
                raise UsageError("it has no id")
        except UsageError as error:
            lost.append(Skipped(key, str(error)))
            continue
        at = by_path.setdefault(split_path(image.name), len(images))
        if at == len(images):
            images.append(image)
        elif (images[at].height, images[at].width) != (image.height, image.width):
            lost.append(
                Skipped(key, f"the entry {short_repr(entry['id'])} gives it another size than one before")
            )
            continue
        by_id.add(id_, at)
    for id_, positions in by_id.shared():
        for at in positions:
            images[at].problem = f"{len(positions)} images have its id {short_repr(id_)}"
    return images, by_id


def _image(entry: dict[str, object]) -> CocoImage:
    name = entry.get("file_name")
    if not isinstance(name, str) or not split_path(name)[1] or "\0" in name:
        raise UsageError("it has no file_name")
    return CocoImage(name, _length(entry.get("height")), _length(entry.get("width")))


def _length(value: object) -> int | None:
    """Return a number of pixels; ``None`` where there is none."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = int(value)
    key = id_key(value)
    return key if isinstance(key, int) else None


# ---------------------------------------------------------------------- categories


def _category_ids(annotations: list[object]) -> list[object]:
    entries = [entry for entry in annotations if isinstance(entry, dict)]
    segments = [segment for entry in entries for segment in segments_of(entry)]
    ids = (entry.get("category_id") for entry in [*entries, *segments])
    return list(dict.fromkeys(id_ for id_ in ids if id_key(id_) is not None))


def segments_of(entry: dict[str, object]) -> list[dict[str, object]]:
    """Return the well-formed segments of a panoptic annotation."""
    segments = entry.get("segments_info")
    return [s for s in segments if isinstance(s, dict)] if isinstance(segments, list) else []


def _categories(entries: list[object], path: Path, lost: list[Skipped]) -> tuple[dict[int, str], _Ids[int]]:
    """Return mask id -> class name, and category id -> mask id."""
    usable: dict[tuple[Hashable, str], object] = {}
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict) or (key := id_key(entry.get("id"))) is None:
            lost.append(Skipped(f"entry {position} of the categories", "it has no id"))
            continue
        name = entry.get("name")
        name = name if isinstance(name, str) and name else f"class {key}"
        usable[key, name] = entry.get("class_id", _loose(key))
    if len(usable) > MAX_ID:
        raise UsageError(f"{path} has {len(usable):,} categories; masks hold {MAX_ID:,}")
    names: dict[int, str] = {}
    ids: _Ids[int] = _Ids()
    for mask_id, (key, name) in zip(_mask_ids(usable), usable, strict=True):
        names[mask_id] = name
        ids.add(key, mask_id)
    return names, ids


def _mask_ids(categories: dict[tuple[Hashable, str], object]) -> list[int]:
    """Return a mask id a category: ``class_id`` where this package wrote it, else the category's id."""
    own = [(_loose(key), name) for key, name in categories]
    for candidate in (list(categories.values()), [id_ for id_, _ in own]):
        numbers = [value for value in candidate if type(value) is int and 0 < value <= MAX_ID]
        if len(set(numbers)) == len(categories):
            return numbers
    order = sorted(range(len(own)), key=lambda i: (isinstance(own[i][0], str), *own[i]))
    rank = {index: number for number, index in enumerate(order, 1)}
    return [rank[index] for index in range(len(own))]


# ---------------------------------------------------------------------- annotations


def _place(entry: object, position: int, by_id: _Ids[int], file: CocoFile) -> None:
    """Give an annotation to its image, or list it as lost."""
    key = f"annotation {position} of the file"
    try:
        if not isinstance(entry, dict):
            raise UsageError("it is no object")
        key = annotation_key(entry, position)
        image = file.images[by_id.find(entry.get("image_id"), "image")]
        image.named += 1
        key = f"{image.name}, {key}"
        mask_id = 0 if "segments_info" in entry else file.mask_id(entry.get("category_id"))
        image.entries.append((entry, mask_id))
    except UsageError as error:
        file.lost.append(LostAnnotation(key, str(error)))


def annotation_key(entry: dict[str, object], position: int | None = None) -> str:
    """Return what an annotation is called in messages."""
    id_ = entry.get("id")
    if id_key(id_) is not None:
        return f"annotation {id_!s:.{SHOWN}}"
    return "an annotation without id" if position is None else f"annotation without id, number {position}"


def image_candidates(file: CocoFile, image: CocoImage) -> Iterator[str]:
    """Yield where the file of an image may lie: beside the COCO file, or where tools put images."""
    parts = split_path(image.name)[1]
    if os.path.isabs(image.name):
        yield image.name
    for folder in (file.path.parent, file.path.parent.parent):
        for below in ("", "images", file.path.stem.partition("_")[2]):
            yield os.path.join(folder, below, *parts)
