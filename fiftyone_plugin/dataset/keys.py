"""How the runs of this package are called in FiftyOne; light enough for placements and forms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import count

__all__ = ["FIELD_SUFFIXES", "METHOD", "is_field_name", "numbered", "reserved_fields", "run_key"]

METHOD = "pseudomask"
"""How FiftyOne tells this package's runs from others."""

FIELD_SUFFIXES = ("classes", "coverage", "quality", "confidence")
"""Ends of the names of the fields beside a mask field."""

PREFIX = f"{METHOD}_"


def run_key(field: str) -> str:
    """Return the key of the custom run that fills ``field``."""
    return PREFIX + field


def is_field_name(name: object) -> bool:
    """Return whether a new field can have this name: letters, digits and _, beginning with a letter."""
    return isinstance(name, str) and re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]*", name) is not None


def numbered(name: str, between: str = "_") -> Iterator[str]:
    """Yield a name, and then for ever the name with 2, 3, ... behind it."""
    yield name
    yield from (f"{name}{between}{number}" for number in count(2))


def reserved_fields(keys: Iterable[str]) -> list[str]:
    """Return the fields that runs fill, of whatever status; keys of other packages are left out."""
    return [key.removeprefix(PREFIX) for key in keys if key.startswith(PREFIX)]
