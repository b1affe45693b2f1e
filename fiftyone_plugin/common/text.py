"""Names that anybody may have given, shown as the text they are: in terminals, Markdown and spreadsheets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["from_spreadsheet_cell", "plain_markdown", "plain_plot_label", "printable"]
__all__ += ["short_list", "short_repr", "shorten", "spreadsheet_cell"]

_MARKDOWN = re.compile(r"[\\`*\[\]<>|~&$]|(?<![a-zA-Z0-9])_|_(?![a-zA-Z0-9])|^[#+\-=]")
_NUMBERED = re.compile(r"^(\d+)([.)])")  # would begin a list
_LINKED = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)", re.IGNORECASE)
_JOINER = "\u2060"  # of no width
_PLOT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"})
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    r"""Return ``text`` with control and format characters as escapes, so that a terminal only prints it.

    ``\x1b[2J`` in a file name would clear the screen, a line break would forge a line, U+202E turns the rest
    around. Bytes of a file name that is not UTF-8 (surrogates) become escapes as well.
    """
    return "".join(
        c if unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} else ascii(c)[1:-1] for c in text
    )


def plain_markdown(text: str) -> str:
    """Return Markdown that shows ``text`` as it is: no link, picture, table cell or emphasis comes of it.

    Text without such characters stays as it is. Addresses and e-mail addresses become links whether they are
    escaped or not, as the App's Markdown looks for them in the text that it has parsed; a character of no
    width keeps them apart.
    """
    return _LINKED.sub(_JOINER, _NUMBERED.sub(r"\1\\\2", _MARKDOWN.sub(r"\\\g<0>", printable(text))))


def plain_plot_label(text: str) -> str:
    """Return a label for Plotly that shows ``text`` as it is; tags and entities would be layout."""
    return printable(text).translate(_PLOT)


def shorten(text: str, limit: int) -> str:
    """Return ``text`` as it can be printed, cut to ``limit`` characters where it is longer."""
    text = printable(text[: limit + 1])
    return text if len(text) <= limit else f"{text[: limit - 1]}\u2026"


def short_repr(value: object, limit: int = 60) -> str:
    """Return how Python writes a value, in bounded length: what a stranger's file holds, for a message."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def spreadsheet_cell(text: str) -> str:
    """Return ``text`` for a table that people open in a spreadsheet: what would be a formula gets a ``'``.

    A text that begins with ``'`` gets one too, so that :func:`from_spreadsheet_cell` gives every text back.
    """
    return f"'{text}" if text.startswith((*_FORMULA, "'")) else text


def from_spreadsheet_cell(cell: str) -> str:
    """Return the text that :func:`spreadsheet_cell` was given."""
    return cell.removeprefix("'")


def short_list(values: Sequence[object], most: int = 8) -> str:
    """Return ``[1, 2, 3]``, or the first of them and how many more there are."""
    shown = ", ".join(str(value) for value in values[:most])
    rest = f", and {len(values) - most:,} more" if len(values) > most else ""
    return f"[{shown}{rest}]"
