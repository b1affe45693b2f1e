"""What became of every image of a run: a row each, in its journal and at the end in its table."""

from __future__ import annotations

import csv
import json
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, TypeVar

from ..common.classes import MAX_ID
from ..common.files import atomic, is_below
from ..common.tables import TableWriter
from ..common.text import from_spreadsheet_cell
from ..errors import UsageError
from ..masks.areas import DECIMALS

__all__ = [
    "NAMES",
    "SampleRow",
    "iterate_samples",
    "parse_row",
    "read_cells",
    "read_journal",
    "read_samples",
    "total_areas",
    "write_samples",
]

NAMES = "surrogateescape"  # file names on Linux need not be UTF-8; their bytes are kept as they are
T = TypeVar("T", int, float)
MAX_SIDE = 1 << 30  # pixels
MAX_LINE = 4 << 20  # characters of a journal's line; that of a mask of 65,535 classes has a third of them


@dataclass
class SampleRow:
    """What became of one image; a row of ``samples.csv``.

    Attributes:
        image: key of the image, its path below the source folder.
        mask: path of the mask below ``masks/``, empty where there is none.
        status: ``labelled`` or ``skipped``.
        width: native width in pixels, 0 if unknown.
        height: native height in pixels, 0 if unknown.
        classes: class ids present, ascending.
        shares: share of the pixels that each of these classes covers, in [0, 1]; empty in rows of versions
            that did not record it.
        qualities: how far each of these classes can be trusted here, in [0, 1], see
            :func:`fiftyone_plugin.masks.quality.segment_quality`; empty as ``shares``.
        coverage: share of pixels that are not 0, in [0, 1].
        quality: how far the mask can be trusted, in [0, 1]; ranks the masks of one run, see
            :func:`fiftyone_plugin.masks.quality.image_quality`.
        seconds: time spent on prediction and writing.
        error: why the image was skipped.
        stamp: ``size:mtime_ns`` of the image file that was labelled, empty where it was not there.
    """

    image: str
    mask: str = ""
    status: str = "labelled"
    width: int = 0
    height: int = 0
    classes: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()
    qualities: tuple[float, ...] = ()
    coverage: float = 0.0
    quality: float = 0.0
    seconds: float = 0.0
    error: str = ""
    stamp: str = ""

    @property
    def class_ids(self) -> list[int]:
        """Class ids present, ascending."""
        return list(self.classes)

    @property
    def class_shares(self) -> dict[int, float]:
        """Class id -> share of the pixels; empty for rows of versions that did not record shares."""
        return dict(zip(self.classes, self.shares, strict=False))

    @property
    def class_qualities(self) -> dict[int, float]:
        """Class id -> quality of its segment; empty for rows of versions that did not record it."""
        return dict(zip(self.classes, self.qualities, strict=False))


def _numbers(kind: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    return lambda text: tuple(map(kind, text.split()))


READERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("width", "height"), int),
    **dict.fromkeys(("coverage", "quality", "seconds"), float),
    **dict.fromkeys(("shares", "qualities"), _numbers(float)),
    "classes": _numbers(int),
}
"""How the cells of a table become values; the others are text."""
WRITERS: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("coverage", "quality"), "{:.6f}".format),
    "seconds": "{:.4f}".format,
    "classes": lambda ids: " ".join(map(str, ids)),
    "shares": lambda shares: " ".join(map("{:g}".format, shares)),
    "qualities": lambda qualities: " ".join(map("{:.4f}".format, qualities)),
}


def read_samples(path: Path) -> list[SampleRow]:
    """Read a ``samples.csv`` and check every value of it.

    Raises:
        UsageError: it cannot be read, or is not such a table.
    """
    return list(iterate_samples(path))


def iterate_samples(path: Path) -> Iterator[SampleRow]:
    """Yield the rows of :func:`read_samples` one by one; it raises the same."""
    try:
        yield from map(_row_of_table, read_cells(path))
    except UsageError:  # a ValueError too
        raise
    except OSError as error:
        raise UsageError(f"cannot read the table {path}: {error.strerror or error}") from error
    except (csv.Error, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not the table of a run ({error}); choose another --out") from error


def read_cells(path: Path) -> Iterator[dict[str | None, Any]]:
    """Yield the rows of a table as they are in it, column -> text.

    Raises:
        UsageError: it is not a regular file.
        OSError: it cannot be read.
        ValueError: it has a line that no run writes.
        csv.Error: it is no table.
    """
    _require_regular(path)
    with path.open(newline="", encoding="utf-8", errors=NAMES) as file:
        yield from csv.DictReader(_bounded_lines(file))


def _bounded_lines(file: IO[str]) -> Iterator[str]:
    """Yield the lines of a table; one that no run writes is an error before it fills the memory."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise ValueError(f"a line of more than {MAX_LINE:,} characters")
        yield line


def read_journal(path: Path) -> Iterator[SampleRow]:
    """Yield the rows of a journal; lines that are none, such as one cut short by a crash, are passed over.

    Raises:
        UsageError: there is something that is no file.
    """
    if not os.path.lexists(path):
        return
    _require_regular(path)
    with path.open(encoding="utf-8", errors="replace") as file:
        while line := file.readline(MAX_LINE):
            if row := parse_row(line):
                yield row


def _require_regular(path: Path) -> None:
    """Refuse what is no file: reading a pipe would wait for ever."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    if not regular:
        raise UsageError(f"{path} is not a regular file; choose another --out")


def _row_of_table(cells: dict[str | None, Any]) -> SampleRow:
    if None in cells or None in cells.values():
        raise ValueError("a row with more or fewer cells than the first one")
    values = {str(name): READERS.get(str(name), from_spreadsheet_cell)(cell) for name, cell in cells.items()}
    return _checked(SampleRow(**values))


def _checked(row: SampleRow) -> SampleRow:
    """Return the row if every value of it is one that a run may write, or raise a ``ValueError``."""
    for field in fields(SampleRow):
        value, kind = getattr(row, field.name), type(field.default) if field.name != "image" else str
        if not isinstance(value, kind) and not (kind is float and type(value) is int):
            raise ValueError(f"{field.name} of {row.image!r:.60} is {value!r:.60}")
    if row.mask and not is_below(row.mask):
        raise ValueError(f"the mask {row.mask!r:.200} leads out of the run")
    if row.status not in ("labelled", "skipped"):
        raise ValueError(f"the status of {row.image!r:.60} is {row.status!r:.60}")
    ranges: list[tuple[Iterable[float], float]] = [
        ([row.width, row.height], MAX_SIDE),
        (row.classes, MAX_ID),
        ([*row.shares, *row.qualities, row.coverage, row.quality], 1),
        ([row.seconds], math.inf),
    ]
    for numbers, high in ranges:
        for number in numbers:
            if not (0 <= number <= high and number < math.inf):
                raise ValueError(f"a number of {row.image!r:.60} is {number!r:.60}")
    if not all(isinstance(id_, int) for id_ in row.classes):
        raise ValueError(f"a class of {row.image!r:.60} is no whole number")
    if any(len(values) not in (0, len(row.classes)) for values in (row.shares, row.qualities)):
        raise ValueError(f"{row.image!r:.60} has other numbers of classes, shares and qualities")
    return row


def write_samples(path: Path, rows: Iterable[SampleRow]) -> None:
    """Write a ``samples.csv``, a row an image."""
    with atomic(path) as partial, partial.open("w", newline="", encoding="utf-8", errors=NAMES) as file:
        writer = TableWriter(file)
        writer.write(field.name for field in fields(SampleRow))
        for row in rows:
            writer.write(WRITERS.get(name, str)(value) for name, value in vars(row).items())


def parse_row(line: str) -> SampleRow | None:
    """Return a row of the journal; ``None`` for a line that is empty, cut short by a crash or no row."""
    try:
        values = json.loads(line)
        for name in ("classes", "shares", "qualities"):
            value = values.get(name, ())  # earlier versions joined the numbers by spaces
            values[name] = READERS[name](value) if isinstance(value, str) else tuple(value)
        return _checked(SampleRow(**values))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def total_areas(rows: Iterable[SampleRow]) -> dict[int, float]:
    """Return the share of all pixels of the labelled images that each class covers, in [0, 1], ids ascending.

    Large images count for more. The values are those of the rows, so they are right to about four decimals.
    """
    areas: dict[int, float] = {}
    pixels = 0
    for row in rows:
        if row.status == "labelled":
            size = row.width * row.height
            pixels += size
            for id_, share in row.class_shares.items():
                areas[id_] = areas.get(id_, 0.0) + share * size
    return {id_: round(areas[id_] / pixels, DECIMALS) for id_ in sorted(areas)}
