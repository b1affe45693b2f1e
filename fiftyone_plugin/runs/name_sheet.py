"""The sheet in which a person names clusters: a table to fill in, and a picture of crops beside it."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.files import atomic
from ..common.tables import TableWriter
from ..common.text import from_spreadsheet_cell, shorten
from ..common.untrusted import read_text
from ..errors import UsageError, did_you_mean
from .exemplars import SIDE, exemplar_path
from .folder import RunDirectory
from .likeness import likeness
from .model import FittedModel
from .result import finished_run
from .samples import SampleRow, total_areas

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["BACKGROUND", "ClusterCard", "read_names", "write_sheet"]

BACKGROUND = ("background", "ignore", "-", "0")
"""Names that stand for no class: the id of their pixels is 0."""
MAX_BYTES = 8 << 20
HEADER = ("cluster", "name", "share", "images", "nearest", "similarity")
IDEAS = ("suggested", "score", "other suggestions")
COLUMNS = 3  # of strips in the picture
TEXT = 18  # pixels of a line of text


@dataclass(frozen=True)
class ClusterCard:
    """What a person is shown of a cluster."""

    cluster: int
    name: str  # so far, empty for none
    share: float  # of all pixels, 0..1
    images: int  # that show it
    nearest: int = 0  # the cluster most like it; 0 where that is not known
    similarity: float = 0.0  # cosine to that one


def write_sheet(
    run: Path, table: Path, ideas: Mapping[int, Sequence[tuple[str, float]]] | None = None
) -> list[ClusterCard]:
    """Write the table of a run's clusters with an empty column for names, and the picture beside it.

    The picture has the name of the table and ends in ``.jpg``. Names that an earlier table holds stay.
    ``ideas``, cluster -> suggested names and their scores, best first, have columns of their own.

    Returns:
        The cards, similar ones side by side.

    Raises:
        UsageError: the folder holds no finished run, or the file cannot be written.
    """
    directory, _, rows = finished_run(run)
    cards = _cards(directory, rows, read_names(table, None) if table.is_file() else {})
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        with atomic(table) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = TableWriter(file)
            writer.write((*HEADER, *(IDEAS if ideas is not None else ())))
            for card in cards:
                nearest = str(card.nearest) if card.nearest else ""
                alike = f"{card.similarity:.2f}" if card.nearest else ""
                numbers = (f"{card.share:.4f}", str(card.images), nearest, alike)
                extra = () if ideas is None else _ideas(ideas.get(card.cluster, ()))
                writer.write((str(card.cluster), card.name, *numbers, *extra))
        with atomic(table.with_suffix(".jpg")) as partial:
            _picture(run, cards).save(partial, format="JPEG", quality=85)
    except OSError as error:
        raise UsageError(f"cannot write {table}: {error.strerror or error}") from error
    return cards


def _ideas(ideas: Sequence[tuple[str, float]]) -> tuple[str, str, str]:
    """Return the cells of :data:`IDEAS`."""
    if not ideas:
        return "", "", ""
    (name, score), *others = ideas
    return name, f"{score:.2f}", ", ".join(f"{other} {share:.2f}" for other, share in others)


def _cards(directory: RunDirectory, rows: Sequence[SampleRow], known: Mapping[int, str]) -> list[ClusterCard]:
    labelled = [row for row in rows if row.status == "labelled"]
    images = Counter(id_ for row in labelled for id_ in row.classes if id_ > 0)
    shares = total_areas(labelled)
    method = FittedModel.load(directory.model).method if FittedModel.is_in(directory.model) else None
    alike = likeness(method, sorted(images))
    return [
        ClusterCard(
            id_, known.get(id_, ""), shares.get(id_, 0.0), images[id_], *alike.nearest.get(id_, (0, 0.0))
        )
        for id_ in alike.order
    ]


def _picture(run: Path, cards: Sequence[ClusterCard]) -> Image.Image:
    """Return the strips of crops of all clusters in the order of the table, column by column."""
    from PIL import Image, ImageDraw

    paths = [exemplar_path(run, card.cluster) for card in cards]
    strips = [Image.open(path) if path.is_file() else None for path in paths]
    width = max([strip.width for strip in strips if strip is not None] or [SIDE])
    rows = -(-len(strips) // COLUMNS) or 1
    cell = (width + 12, SIDE + TEXT + 6)
    sheet = Image.new("RGB", (COLUMNS * cell[0], rows * cell[1]), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (card, strip) in enumerate(zip(cards, strips, strict=True)):
        x, y = number // rows * cell[0], number % rows * cell[1]
        text = f"{card.cluster}  {100 * card.share:.1f} %, {card.images} images  {shorten(card.name, 40)}"
        draw.text((x + 2, y + 2), text, fill="black")
        if strip is not None:
            sheet.paste(strip, (x + 2, y + TEXT))
            strip.close()
    return sheet


def read_names(path: Path, clusters: Sequence[int] | None) -> dict[int, str]:
    """Read a table of names: cluster id -> name, empty ones left out.

    It is CSV with the columns ``cluster`` and ``name``, or two columns first and no header. The run has these
    clusters; ``None``: any.

    Raises:
        UsageError: it cannot be read, a line is no id and name, a cluster is not there or has two names.
    """
    text = read_text(path, what="a table of names", max_bytes=MAX_BYTES).removeprefix("\ufeff")
    lines = list(csv.reader(text.splitlines()))
    columns, start = (0, 1), 0
    if lines and "cluster" in (header := [cell.strip().casefold() for cell in lines[0]]):
        if "name" not in header:
            raise UsageError(f"{path} has no column 'name'; its columns are {', '.join(header)}")
        columns, start = (header.index("cluster"), header.index("name")), 1
    names: dict[int, str] = {}
    for number, line in enumerate(lines[start:], start + 1):
        if not any(cell.strip() for cell in line):
            continue
        if max(columns) >= len(line):
            raise UsageError(
                f"{path}, line {number}: a cluster and its name are wanted, separated by a comma"
            )
        id_text, name = (from_spreadsheet_cell(line[column]).strip() for column in columns)
        digits = id_text.casefold().removeprefix("class").strip()
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= 6):
            raise UsageError(f"{path}, line {number}: {shorten(id_text, 40)!r} is no id of a cluster")
        cluster = int(digits)
        if clusters is not None and cluster not in clusters:
            near = did_you_mean(digits, map(str, clusters))
            raise UsageError(f"{path}, line {number}: the run has no cluster {cluster}{near}")
        if name and names.setdefault(cluster, name) != name:
            raise UsageError(
                f"{path}, line {number}: cluster {cluster} is {name!r} here and {names[cluster]!r} above"
            )
    return names
