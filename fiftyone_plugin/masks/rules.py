"""What the values of a mask file mean: an id, a grey level or a colour."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["COLOURS", "FIFTYONE", "IDS", "MAX_ID", "MaskRules"]

MAX_ID = 0xFFFFFF
"""Largest id of a mask: FiftyOne's integer for the colour white."""

LARGEST_STORED = 65_535


@dataclass(frozen=True)
class MaskRules:
    """How to read a mask: see the table in :mod:`fiftyone_plugin.masks.files`.

    Attributes:
        colours: ``True``: every file is a picture whose colours 0xRRGGBB are the ids. ``False``: ids are grey
            levels, and colours are refused. ``None``: colours are ids 0xRRGGBB, but a colour file without
            colours (R = G = B throughout) holds grey levels, and a palette file holds indices.
        ids: ids that have names, where that is known; they decide where a file can be read in two ways.
    """

    colours: bool | None = False
    ids: frozenset[int] = frozenset()

    @classmethod
    def of(cls, targets: Iterable[int | str] | None) -> MaskRules:
        """Return the rules of a field from the keys of its mask targets: ids, or colours like ``#ff6d04``."""
        keys = list(targets or ())
        ids = frozenset(number for key in keys if (number := _number(key)) is not None)
        coloured = any(str(key).startswith("#") for key in keys) or max(ids, default=0) > LARGEST_STORED
        return cls(coloured or None, ids)


def _number(key: int | str) -> int | None:
    try:
        return int(key[1:], 16) if isinstance(key, str) and key.startswith("#") else int(key)
    except ValueError:  # whoever needs the name says what is wrong with it
        return None


IDS = MaskRules()
COLOURS = MaskRules(True)
FIFTYONE = MaskRules(None)
