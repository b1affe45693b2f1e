"""Options, declared once: a frozen dataclass whose fields carry a default, what is allowed, and one line.

Values may come from a command line, a form or a saved model of a stranger; every error names the option.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from ..errors import UsageError, did_you_mean

__all__ = ["DIMENSIONS", "ROWS", "SEEDS", "Choice", "Flag", "Number", "Option", "Options", "Rule", "Several"]
__all__ += ["check_numbers", "option"]

T = TypeVar("T")

DIMENSIONS = 65_536  # of a vector; the largest backbone has 1,536 in each of a few layers
ROWS = 10**9  # patches, regions or images that an option may ask for: far beyond memory, yet a number


class Rule(Protocol):
    """What an option may be."""

    def check(self, name: str, value: object) -> object:
        """Return the value as a plain one, which JSON can hold (a tuple for a list).

        Raises:
            UsageError: it is of the wrong type or out of range; names the option.
        """

    def __str__(self) -> str:
        """Return what is allowed, in words."""


@dataclass(frozen=True)
class Number:
    """A number.

    Attributes:
        low: lowest value.
        high: highest value; a saved model may come from a stranger, so let it be finite.
        whole: whole numbers only.
        optional: ``None`` is allowed.
        word: a word that is allowed instead, e.g. ``auto``.
    """

    low: float
    high: float = math.inf
    whole: bool = True
    optional: bool = False
    word: str | None = None

    def check(self, name: str, value: Any) -> Any:
        """Return a plain ``int`` or ``float``, see :class:`Rule`."""
        if (value is None and self.optional) or (isinstance(value, str) and value == self.word):
            return value
        kind: type[Any] = Integral if self.whole else Real
        if isinstance(value, bool) or not isinstance(value, kind) or not self.low <= value <= self.high:
            raise UsageError(f"{name} must be {self}, got {value!r:.200}")
        return int(value) if self.whole else float(value)

    def __str__(self) -> str:
        limits = f"at least {self.low}" if self.high == math.inf else f"{self.low}..{self.high}"
        others = [other for other in (self.word, "null" if self.optional else None) if other]
        return ", or ".join([f"a {'whole ' if self.whole else ''}number, {limits}", *others])


SEEDS = Number(0, 2**32 - 2)  # scikit-learn's limit, less one for a second seed


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def check(self, name: str, value: object) -> str:
        """Return the word, see :class:`Rule`."""
        if not isinstance(value, str) or value not in self.words:
            raise UsageError(f"{name} must be {self}, got {value!r:.200}{did_you_mean(value, self.words)}")
        return value

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}"


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def check(self, name: str, value: object) -> bool:
        """Return a plain ``bool``, see :class:`Rule`."""
        if type(value).__name__ not in ("bool", "bool_"):  # Python's or numpy's, which is not imported for it
            raise UsageError(f"{name} must be {self}, got {value!r:.200}")
        return bool(value)

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class Several:
    """A list of ``least`` to ``most`` values of one rule; a single text counts as a list of one."""

    each: Rule
    least: int = 1
    most: int = 64

    def check(self, name: str, value: object) -> tuple[object, ...]:
        """Return a tuple, see :class:`Rule`."""
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, (list, tuple)) or not self.least <= len(values) <= self.most:
            raise UsageError(f"{name} must be {self}, got {value!r:.200}")
        return tuple(self.each.check(name, one) for one in values)

    def __str__(self) -> str:
        return f"a list of {self.least} to {self.most} values, each {self.each}"


class Option(NamedTuple):
    """One option in words: what is ``allowed``, and a line of ``help``."""

    name: str
    default: object
    allowed: str
    help: str


def option(default: T, rule: Rule, help: str) -> T:
    """Return a field of :class:`Options` with its default, what it may be, and one line about it."""
    return field(default=default, metadata={"rule": rule, "help": help})


@dataclass(frozen=True)
class Options:
    """Base of frozen dataclasses of options: fields are checked by their rules, then all by :meth:`check`."""

    retired: ClassVar[Mapping[str, object]] = {}
    """Options of earlier versions and the one value that is left; saved files have them still."""
    ignored: ClassVar[tuple[str, ...]] = ()
    """Options of earlier versions, in saved files, that change nothing any more, whatever they are."""

    def __post_init__(self) -> None:
        for item in fields(self):
            rule: Rule = item.metadata["rule"]
            object.__setattr__(self, item.name, rule.check(item.name, getattr(self, item.name)))
        self.check()

    def check(self) -> None:
        """Check what concerns several options, or asks for more than a rule.

        Raises:
            UsageError: they contradict each other.
        """

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all options."""
        return [item.name for item in fields(cls)]

    @classmethod
    def describe(cls) -> list[Option]:
        """Return all options in words."""
        every = [(item, item.metadata) for item in fields(cls)]
        return [Option(item.name, item.default, str(said["rule"]), said["help"]) for item, said in every]

    @classmethod
    def known(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options among ``values`` that are left after those that are retired.

        Raises:
            UsageError: there is no such option, or it is retired and has another value than the one left.
        """
        names = cls.names()
        kept = {}
        for name, value in values.items():
            if name in names:
                kept[name] = value
            elif name in cls.ignored:
                continue
            elif name not in cls.retired:
                near = did_you_mean(name, names) or "."
                raise UsageError(f"there is no option {name}{near} The options are: {', '.join(names)}")
            elif value != cls.retired[name] or isinstance(value, bool) != isinstance(cls.retired[name], bool):
                raise UsageError(f"{name} can only be {cls.retired[name]!r} any more, got {value!r:.200}")
        return kept

    def to_json(self) -> dict[str, Any]:
        """Return all options with their values, and the retired ones, as JSON has them."""
        values = {item.name: _plain(getattr(self, item.name)) for item in fields(self)}
        return {**self.retired, **values}


def _plain(value: object) -> object:
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def check_numbers(values: dict[str, Any], allowed: Mapping[str, Number]) -> None:
    """Check the values named in ``allowed`` and make them plain Python numbers; changes ``values``.

    Raises:
        UsageError: a value is of the wrong type or out of range.
    """
    for name, number in allowed.items():
        values[name] = number.check(name, values[name])
