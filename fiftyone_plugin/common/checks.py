"""Checking the constructor arguments of methods, which may come from a command line or a form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..errors import UsageError

__all__ = ["DIMENSIONS", "ROWS", "Number", "check_flag", "check_numbers"]

DIMENSIONS = 65_536  # of a vector; the largest backbone has 1,536 in each of a few layers
ROWS = 10**9  # patches, regions or images that a parameter may ask for: far beyond memory, yet a number


@dataclass(frozen=True)
class Number:
    """What a numeric parameter may be.

    Attributes:
        low: lowest value.
        high: highest value; a saved model may come from a stranger, so let it be finite.
        whole: whole numbers only.
        optional: ``None`` is allowed.
    """

    low: float
    high: float = math.inf
    whole: bool = True
    optional: bool = False


def check_numbers(values: dict[str, Any], allowed: Mapping[str, Number]) -> None:
    """Check the parameters named in ``allowed`` and make them plain Python numbers, which JSON can hold.

    Args:
        values: parameter name -> value; changed in place.
        allowed: parameter name -> what it may be.

    Raises:
        UsageError: a value is of the wrong type or out of range.
    """
    for name, number in allowed.items():
        value = values[name]
        if value is None and number.optional:
            continue
        kind: Any = Integral if number.whole else Real
        if isinstance(value, bool) or not isinstance(value, kind) or not number.low <= value <= number.high:
            limits = f"at least {number.low}" if number.high == math.inf else f"{number.low}..{number.high}"
            kinds = "a whole number" if number.whole else "a number"
            raise UsageError(f"{name} must be {kinds}, {limits}, got {value!r}")
        values[name] = int(value) if number.whole else float(value)


def check_flag(name: str, value: Any) -> bool:
    """Return a flag as a plain ``bool``.

    Raises:
        UsageError: it is neither true nor false.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise UsageError(f"{name} must be true or false, got {value!r}")
    return bool(value)
