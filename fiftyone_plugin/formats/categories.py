"""Categories of an export: from mask targets to names, contiguous ids, supercategories, things and stuff."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..common.classes import read_class_names as read_class_file
from ..errors import UsageError

__all__ = ["Categories", "Category", "default_names", "parse_mask_targets", "read_class_file"]

MAX_ID = 0xFFFFFF  # a colour mask's 0xRRGGBB
LUT_SIZE = 1 << 16


@dataclass(frozen=True)
class Category:
    """One category.

    Attributes:
        id: id in the export, contiguous from 1.
        class_id: the id in masks (the lowest one, where several ids have the same name).
        name: its name.
        supercategory: name of its group.
        is_thing: whether it is countable: its connected components are segments of their own in a panoptic
            export.
    """

    id: int
    class_id: int
    name: str
    supercategory: str
    is_thing: bool = True


@dataclass(frozen=True)
class Categories:
    """The categories of an export and the mask ids that they stand for.

    Attributes:
        items: categories, by id.
        mapping: mask id -> category id; 0 for ids that are left out.
    """

    items: tuple[Category, ...]
    mapping: Mapping[int, int]

    @classmethod
    def build(
        cls,
        names: Mapping[int, str],
        *,
        classes: Iterable[str | int] | None = None,
        ignore: Collection[int] = (),
        supercategories: Mapping[str, str] | None = None,
        stuff: Iterable[str | int] = (),
    ) -> Categories:
        """Number the classes of a data set, in the order of their ids.

        Ids of one name become one category: that is how a person merges clusters.

        Args:
            names: mask id >= 1 -> name; an id 0 is left out, it means unlabelled.
            classes: the names or ids to export; ``None`` for all.
            ignore: mask ids that mean unlabelled, e.g. 255.
            supercategories: name -> supercategory; a category without one is its own.
            stuff: names or ids of categories that are not countable.

        Raises:
            UsageError: no classes, an id out of range, or ``classes`` or ``stuff`` has one that is unknown.
        """
        wrong = [i for i in names if not 0 <= i <= MAX_ID]
        if wrong:
            raise UsageError(f"mask ids must be within 0..{MAX_ID}, not {wrong[0]}")
        named = {i: str(names[i]) for i in sorted(names) if i != 0 and i not in ignore}
        chosen = _choose(named, classes) if classes is not None else set(named.values())
        stuff_names = _choose(named, stuff)
        groups = supercategories or {}
        items: dict[str, Category] = {}
        for class_id, name in named.items():
            if name in chosen and name not in items:
                group = groups.get(name, name)
                items[name] = Category(len(items) + 1, class_id, name, group, name not in stuff_names)
        if not items:
            raise UsageError("there is no class to export: masks without ids other than 0, or no names")
        mapping = {i: items[name].id if name in items else 0 for i, name in named.items()}
        return cls(tuple(items.values()), mapping | dict.fromkeys([0, *ignore], 0))

    def __len__(self) -> int:
        return len(self.items)

    @property
    def stuff_ids(self) -> frozenset[int]:
        """Ids of the categories that are not countable."""
        return frozenset(item.id for item in self.items if not item.is_thing)

    def encode(self, mask: np.ndarray) -> np.ndarray:
        """Turn an (H, W) mask of ids into (H, W) uint16 category ids, 0 where nothing is exported.

        Raises:
            UsageError: the mask holds ids without a name, or negative ones.
        """
        small = mask.dtype.kind in "bu" and mask.dtype.itemsize <= 2  # counting is faster than sorting then
        ids = np.flatnonzero(np.bincount(mask.ravel())) if small else np.unique(mask)
        unknown = [i for i in ids.tolist() if i not in self.mapping]
        if unknown:
            listed = ", ".join(map(str, unknown[:8])) + (", ..." if len(unknown) > 8 else "")
            raise UsageError(
                f"ids without a name: {listed}; add them to classes.json (or the mask targets), "
                "or ignore them"
            )
        values = np.array([self.mapping[i] for i in ids.tolist()], np.uint16)
        if not small:
            return values[np.searchsorted(ids, mask)]
        table = np.zeros(LUT_SIZE, np.uint16)
        table[ids] = values
        return table[mask.astype(np.uint16)]

    @property
    def mask_ids(self) -> dict[int, str]:
        """Ids of a mask in a single-channel PNG -> names: those of the source, or categories for colours."""
        fit = all(item.class_id < LUT_SIZE for item in self.items)
        return {item.class_id if fit else item.id: item.name for item in self.items}

    def decode(self, labels: np.ndarray) -> np.ndarray:
        """Turn (H, W) category ids into the ids of :attr:`mask_ids`: uint8 if they fit, else uint16."""
        ids = np.array([0, *self.mask_ids])
        return np.asarray(ids.astype(np.uint8 if ids.max() < 256 else np.uint16)[labels])


def _choose(named: Mapping[int, str], wanted: Iterable[str | int]) -> set[str]:
    """Return the names that a list of names and ids means."""
    if isinstance(wanted, str):
        raise UsageError(f"classes are a list of names or ids, not the text {wanted!r}")
    by_name = set(named.values())
    chosen = set()
    for value in wanted:
        if isinstance(value, str) and value in by_name:
            chosen.add(value)
        elif str(value).isdecimal() and int(value) in named:
            chosen.add(named[int(value)])
        else:
            known = ", ".join(sorted(by_name)[:12])
            raise UsageError(f"no class {value!r}; there are: {known}{', ...' if len(by_name) > 12 else ''}")
    return chosen


def default_names(ids: Iterable[int]) -> dict[int, str]:
    """Name ids that have no names: ``class 7``."""
    return {int(i): f"class {int(i)}" for i in sorted(ids) if int(i) != 0}


def parse_mask_targets(targets: Mapping[int | str, str]) -> dict[int, str]:
    """Read FiftyOne's mask targets: ``{1: "sky"}``, or colours ``{"#ff6d04": "sky"}``.

    A colour's id is 0xRRGGBB.

    Raises:
        UsageError: a key is neither an id nor a colour.
    """
    names = {}
    for key, value in targets.items():
        text = str(key)
        try:
            number = int(text[1:], 16) if text.startswith("#") else int(text)
        except ValueError as error:
            raise UsageError(f"mask targets: {key!r} is neither an id nor a colour like '#ff6d04'") from error
        names[number] = str(value)
    return names
