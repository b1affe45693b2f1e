"""What the App shows of runs, from records and aggregations: no image, no mask and no sample is read."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["FIELD_SUFFIXES", "free_field"]

FIELD_SUFFIXES = ("classes", "coverage", "quality", "confidence")  # of the fields beside a mask field


def free_field(taken: Iterable[str], stem: str) -> str:
    """Return ``stem``, or else the first of ``stem_2``, ``stem_3``, ... that a new run can fill.

    Args:
        taken: names of the fields that there are, and of those that runs have reserved.
        stem: name to begin with.
    """
    names = set(taken)

    def is_free(name: str) -> bool:
        return names.isdisjoint({name, *(f"{name}_{suffix}" for suffix in FIELD_SUFFIXES)})

    number = 1
    while not is_free(name := stem if number == 1 else f"{stem}_{number}"):
        number += 1
    return name
