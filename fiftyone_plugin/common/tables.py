"""Tables that people open in a spreadsheet, with names of anybody in their cells."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import IO

from .text import spreadsheet_cell

__all__ = ["TableWriter"]


class TableWriter:
    r"""Writes rows of text as CSV, each of them one row for every reader and none of its cells a formula.

    Args:
        file: open for text, with ``newline=""``.
    """

    def __init__(self, file: IO[str]) -> None:
        self._plain = csv.writer(file, lineterminator="\n")
        # a carriage return ends a row for those who read the table, and not every csv module quotes it
        self._quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(self, cells: Iterable[str]) -> None:
        r"""Write a row; a null character, which not every reader takes, becomes ``\0``."""
        row = [spreadsheet_cell(cell.replace("\0", "\\0")) for cell in cells]
        (self._quoted if any("\r" in cell for cell in row) else self._plain).writerow(row)
