"""Names that anybody may have given, shown as the text they are: in terminals, Markdown and spreadsheets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["from_spreadsheet_cell", "plain_markdown", "printable", "short_list", "spreadsheet_cell"]

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~&$:/@^=])")
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
    """Return Markdown that shows ``text`` as it is: no link, picture, table cell or emphasis comes of it."""
    return _MARKDOWN.sub(r"\\\1", printable(text))


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
