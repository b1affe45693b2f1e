"""Tables of names of anybody: for a spreadsheet, and for the terminal."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import IO

from .text import printable, spreadsheet_cell

__all__ = ["TableWriter", "format_table"]


class TableWriter:
    r"""Writes rows of text as CSV, each of them one row for every reader and none of its cells a formula.

    The file is open for text, with ``newline=""``.
    """

    def __init__(self, file: IO[str]) -> None:
        self._plain = csv.writer(file, lineterminator="\n")
        # a carriage return ends a row for those who read the table, and not every csv module quotes it
        self._quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(self, cells: Iterable[str]) -> None:
        r"""Write a row; a null character, which not every reader takes, becomes ``\0``."""
        row = [spreadsheet_cell(cell.replace("\0", "\\0")) for cell in cells]
        (self._quoted if any("\r" in cell for cell in row) else self._plain).writerow(row)


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned table: the first column to the left, the others to the right."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in [header, ["-" * width for width in widths], *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)
