"""What became of every image of a run: a row each, in its journal and at the end in its table."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..common.files import atomic
from ..common.text import from_spreadsheet_cell, spreadsheet_cell
from ..errors import UsageError

__all__ = ["NAMES", "SampleRow", "parse_row", "read_samples", "write_samples"]

NAMES = "surrogateescape"  # file names on Linux need not be UTF-8; their bytes are kept as they are
TEXTS = ("image", "mask", "error")  # columns that may hold what a stranger has named


@dataclass
class SampleRow:
    """What became of one image; a row of ``samples.csv``.

    Attributes:
        image: key of the image, its path below the source folder.
        mask: path of the mask below ``masks/``, empty where there is none.
        status: ``labelled`` or ``skipped``.
        width: native width in pixels, 0 if unknown.
        height: native height in pixels, 0 if unknown.
        classes: class ids present, ascending, joined by spaces.
        shares: share of the pixels that each of these classes covers, in [0, 1], joined by spaces.
        qualities: how far each of these classes can be trusted here, in [0, 1], joined by spaces, see
            :func:`fiftyone_plugin.quality.segment_quality`.
        coverage: share of pixels that are not 0, in [0, 1].
        quality: how far the mask can be trusted, in [0, 1]; ranks the masks of one run, see
            :func:`fiftyone_plugin.quality.image_quality`.
        seconds: time spent on prediction and writing.
        error: why the image was skipped.
        stamp: ``size:mtime_ns`` of the image file that was labelled, empty where it was not there.
    """

    image: str
    mask: str = ""
    status: str = "labelled"
    width: int = 0
    height: int = 0
    classes: str = ""
    shares: str = ""
    qualities: str = ""
    coverage: float = 0.0
    quality: float = 0.0
    seconds: float = 0.0
    error: str = ""
    stamp: str = ""

    @property
    def class_ids(self) -> list[int]:
        """Class ids present, ascending."""
        return [int(value) for value in self.classes.split()]

    @property
    def class_shares(self) -> dict[int, float]:
        """Class id -> share of the pixels; empty for rows of versions that did not record shares."""
        return dict(zip(self.class_ids, map(float, self.shares.split()), strict=False))

    @property
    def class_qualities(self) -> dict[int, float]:
        """Class id -> quality of its segment; empty for rows of versions that did not record it."""
        return dict(zip(self.class_ids, map(float, self.qualities.split()), strict=False))


def read_samples(path: Path) -> list[SampleRow]:
    """Read a ``samples.csv``."""
    types: dict[str, Any] = {
        "width": int,
        "height": int,
        "coverage": float,
        "quality": float,
        "seconds": float,
    }
    with path.open(newline="", encoding="utf-8", errors=NAMES) as file:
        try:
            rows = csv.DictReader(file)
            return [
                SampleRow(**{k: types.get(k, from_spreadsheet_cell)(v) for k, v in row.items()})
                for row in rows
            ]
        except (TypeError, ValueError) as error:
            raise UsageError(f"{path} is not the table of a run ({error}); choose another --out") from error


def write_samples(path: Path, rows: Iterable[SampleRow]) -> None:
    """Write a ``samples.csv``, a row an image."""
    with atomic(path) as partial, partial.open("w", newline="", encoding="utf-8", errors=NAMES) as file:
        writer = csv.DictWriter(file, [f.name for f in fields(SampleRow)], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            values = asdict(row)
            values.update({name: spreadsheet_cell(values[name]) for name in TEXTS})
            values["coverage"] = f"{row.coverage:.6f}"
            values["quality"] = f"{row.quality:.6f}"
            values["seconds"] = f"{row.seconds:.4f}"
            writer.writerow(values)


def parse_row(line: str) -> SampleRow | None:
    """Return a row of the journal; ``None`` for a line that is empty or cut short by a crash."""
    try:
        return SampleRow(**json.loads(line))
    except (ValueError, TypeError):
        return None
