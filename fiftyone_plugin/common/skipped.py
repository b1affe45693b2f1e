"""One word for an item that was left out: what, and why."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Skipped"]


@dataclass(frozen=True)
class Skipped:
    """An image, or another item, that took no part, and why; as text, one line with both.

    ``expected``: the caller's choices leave it out (quality, splits); otherwise something is wrong with it.
    """

    key: str
    reason: str
    expected: bool = False

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}"
