"""Parts of a list of images that machines label on their own, told apart by the keys alone."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from ..errors import UsageError

__all__ = ["Shard"]


@dataclass(frozen=True)
class Shard:
    """Part ``index`` of 1..``count``: whether an image is in it depends on its key, and on nothing else."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str | Shard) -> Shard:
        """Read ``I/N``.

        Raises:
            UsageError: it is something else, or I is not within 1..N.
        """
        if isinstance(text, Shard):
            return text
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text) if isinstance(text, str) else None
        shard = cls(int(found[1]), int(found[2])) if found else None
        if shard is None or not 1 <= shard.index <= shard.count:
            raise UsageError(f"a shard is I/N with I from 1 to N, such as 1/8, got {text!r:.100}")
        return shard

    def __contains__(self, key: str) -> bool:
        """Tell whether an image is in this part, by its key: the same on every machine."""
        # names on the disk may hold bytes that are not UTF-8
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
