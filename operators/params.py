"""The values of a form, each read as what it has to be; a wrong one is told in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TypeVar

from fiftyone_plugin.common.text import printable, shorten
from fiftyone_plugin.dataset.keys import is_field_name
from fiftyone_plugin.errors import UsageError

__all__ = ["Params", "finite"]

LONGEST_TEXT = 4096  # characters of a text; no path may be longer
LONGEST_FIELD = 100  # characters of a field's name; folders and further fields are named after it
SHOWN = 60  # characters of a wrong value in its error

T = TypeVar("T")


class Params:
    """The values of a form.

    Values come from the App, from Python and from operations that were scheduled long ago: nothing is taken
    for granted. One that is ``None`` was not given and its default stands in. Reading another that does not
    fit raises; where a form is built it is noted in ``problems`` instead, and the default stands in, so
    that the person sees the form with the input marked.

    Args:
        values: name -> value.
        lenient: note what is wrong instead of raising.

    Attributes:
        values: name -> value, as they came.
        problems: name -> what is wrong with its value.
    """

    def __init__(self, values: object, *, lenient: bool = False) -> None:
        self.values: Mapping[str, object] = values if isinstance(values, Mapping) else {}
        self.lenient = lenient
        self.problems: dict[str, str] = {}

    def text(self, name: str, default: str = "") -> str:
        """Return a text without surrounding blanks; the default where there is none."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            return self._wrong(name, "has to be a text", default)
        if len(value) > LONGEST_TEXT or "\0" in value:
            return self._wrong(name, f"has to be a text of at most {LONGEST_TEXT} characters", default)
        return value.strip() or default

    def field(self, name: str, default: str = "") -> str:
        """Return a name that a new field can have."""
        value = self.text(name, default)
        if value == default or (is_field_name(value) and len(value) <= LONGEST_FIELD):
            return value
        return self._wrong(
            name,
            f"has to be letters, digits and _ only, beginning with a letter, at most {LONGEST_FIELD}",
            default,
        )

    def one_of(self, name: str, known: Iterable[str], default: T) -> str | T:
        """Return one of the known texts."""
        value, known = self.text(name), list(known)
        if not value or value in known:
            return value or default
        if not known:
            return self._wrong(name, "cannot be chosen: there is nothing to choose from", default)
        some = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
        return self._wrong(name, f"has to be one of {some}", default)

    def whole(self, name: str, default: T, low: int, high: int) -> int | T:
        """Return a whole number from ``low`` to ``high``."""
        value = self.values.get(name)
        if value is None:
            return default
        number = finite(value)
        if number is None or number != int(number) or not low <= number <= high:
            return self._wrong(name, f"has to be a whole number from {low} to {high}", default)
        return int(number)

    def number(self, name: str, default: T, low: float, high: float) -> float | T:
        """Return a number from ``low`` to ``high``."""
        value = self.values.get(name)
        if value is None:
            return default
        number = finite(value)
        if number is None or not low <= number <= high:
            return self._wrong(name, f"has to be a number from {low:g} to {high:g}", default)
        return float(number)

    def flag(self, name: str) -> bool:
        """Return true or false; false where there is none."""
        value = self.values.get(name)
        if value is None or isinstance(value, bool):
            return value is True
        return self._wrong(name, "has to be true or false", False)

    def numbered(self, start: str) -> dict[int, str]:
        """Return number -> name of the values whose name is ``start`` and a number: a line a class."""
        names = [name for name in self.values if isinstance(name, str) and name.startswith(start)]
        ends = {name.removeprefix(start): name for name in names}
        return {int(end): name for end, name in ends.items() if end.isascii() and end.isdigit()}

    def _wrong(self, name: str, what: str, default: T) -> T:
        message = f"{printable(name)!r} {what}, not {_describe(self.values.get(name))}"
        if not self.lenient:
            raise UsageError(message)
        self.problems.setdefault(name, message)
        return default


def finite(value: object) -> int | float | None:
    """Return the value if it is a finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def _describe(value: object) -> str:
    """Return a value as it is told in an error, in bounded length."""
    if isinstance(value, str):
        return repr(shorten(value, SHOWN))
    if isinstance(value, int | float):
        return repr(value) if isinstance(value, float) or abs(value) < 10**18 else "a huge number"
    return f"a value of type {type(value).__name__}"
