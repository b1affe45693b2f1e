"""Pictures that a run leaves for people to look at: its contact sheet, and why it has that many classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..common.files import atomic
from ..errors import ImageReadError
from ..images.drawing import contact_sheet
from ..images.reading import read_reduced
from .folder import RunDirectory
from .samples import SampleRow

__all__ = ["SHEET_IMAGES", "draw_evidence", "draw_sheet"]

SHEET_IMAGES = 12
CELL = (230, 172)  # width and height of a picture, pixels


def draw_sheet(
    directory: RunDirectory,
    rows: list[SampleRow],
    paths: Mapping[str, str],
    names: dict[int, str],
    title: str,
) -> None:
    """Write ``contact_sheet.png``: images spread evenly over the run, beside their masks.

    Args:
        directory: the run's folder; masks are read from it.
        rows: of all images.
        paths: key of an image -> its file.
        names: class id -> name, for the legend.
        title: headline.
    """
    labelled = [row for row in rows if row.status == "labelled"]
    picks = np.unique(np.linspace(0, len(labelled) - 1, min(SHEET_IMAGES, len(labelled))).round().astype(int))
    pairs = filter(None, (_read_pair(directory, labelled[i], paths) for i in picks))
    with atomic(directory.root / "contact_sheet.png") as partial:
        contact_sheet(pairs, names, title, cell=CELL).save(partial, format="PNG")


def draw_evidence(directory: RunDirectory, method: Any) -> None:
    """Write ``eigenvalues.png`` for a method that found its number of classes in a spectrum."""
    from ..images.plots import plot_eigenvalues

    eigenvalues = np.asarray(getattr(method, "eigenvalues_", ()))
    if len(eigenvalues):
        with atomic(directory.root / "eigenvalues.png") as partial:
            plot_eigenvalues(eigenvalues, method.n_classes_, partial)


def _read_pair(
    directory: RunDirectory, row: SampleRow, paths: Mapping[str, str]
) -> tuple[str, np.ndarray, np.ndarray] | None:
    from ..masks.files import read_mask

    try:
        mask = read_mask(directory.mask_file(row.mask))
        scale = min(1.0, max(CELL[0] / mask.shape[1], CELL[1] / mask.shape[0]))
        height, width = (max(1, round(n * scale)) for n in mask.shape)
        return row.image, read_reduced(paths[row.image], height, width)[0], mask
    except ImageReadError:
        return None  # gone since it was labelled: its mask stays, the sheet shows the others
