"""Lists of class names, as runs, exports and people write them."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError
from .text import short_repr
from .untrusted import read_json

__all__ = ["MAX_ID", "parse_class_names", "read_class_names"]

MAX_ID = 65_535
"""Largest class id that a mask can hold."""


def read_class_names(path: str | Path) -> tuple[dict[int, str], dict[str, str]]:
    """Read a file of class names, such as a run's ``classes.json``, see :func:`parse_class_names`.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    return parse_class_names(read_json(path, what="a list of class names"), path)


def parse_class_names(document: object, path: object) -> tuple[dict[int, str], dict[str, str]]:
    """Return names by mask id, and supercategories by name where there are some.

    The document is an object ``{"1": "sky", "2": {"name": "cow", "supercategory": "animal"}}``, or a list,
    where the position is the id; errors name the ``path`` that it came from.

    Raises:
        UsageError: something else, or an id outside 0..65535.
    """
    if isinstance(document, list):
        document = dict(enumerate(document))
    if not isinstance(document, dict):
        raise UsageError(f"{path}: expected an object of names by id, or a list of names")
    names: dict[int, str] = {}
    groups: dict[str, str] = {}
    for key, value in document.items():
        name = value.get("name") if isinstance(value, dict) else value
        if not isinstance(name, str) or not _is_id(str(key)):
            raise UsageError(
                f"{path}: {short_repr(key)}: {short_repr(value)} is not an id (0..{MAX_ID}) and a name"
            )
        names[int(key)] = name
        if isinstance(value, dict) and value.get("supercategory"):
            groups[name] = str(value["supercategory"])
    return names, groups


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) <= MAX_ID
