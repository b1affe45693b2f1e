"""Lines for people at a terminal, whatever the names in them hold."""

from __future__ import annotations

import sys

from ..errors import without_secrets
from .text import printable

__all__ = ["say", "say_text"]


def say(*lines: object, error: bool = False) -> None:
    """Print each argument as one line, with ``error`` on stderr: control characters in it become escapes."""
    stream = sys.stderr if error else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    for line in lines:
        text = printable(without_secrets(str(line)))
        # what the encoding lacks becomes escapes: it would raise else
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)


def say_text(text: str) -> None:
    """Print a text of several lines; only the names in it must have gone through :func:`printable`."""
    say(*text.split("\n"))
