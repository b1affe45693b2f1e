"""What settings do to a handful of images, as one picture; nothing is kept but cached features."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common.progress import Progress
from ..errors import ImageReadError
from ..images.drawing import contact_sheet
from ..images.listing import ImageItem
from ..images.reading import read_image
from ..masks.files import read_mask
from .config import LabelConfig
from .pipeline import label_items
from .result import LabelResult

__all__ = ["Preview", "preview"]

CELL = (214, 160)  # pixels; two pairs in a row fill the App's dialog
QUALITY = 88


@dataclass(frozen=True)
class Preview:
    """A preview.

    Attributes:
        picture: JPEG of photo and overlay side by side, with a legend.
        labelled: number of images shown.
        skipped: (image, reason) of those that could not be labelled.
        classes: number of classes that occur.
        seconds: what it took.
    """

    picture: bytes
    labelled: int
    skipped: list[tuple[str, str]]
    classes: int
    seconds: float

    @property
    def data_url(self) -> str:
        """The picture as a ``data:`` URL."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.picture).decode('ascii')}"


def preview(
    items: Sequence[ImageItem],
    config: LabelConfig,
    *,
    model: Path | None = None,
    progress: Progress | None = None,
) -> Preview:
    """Label a few images and draw them.

    Without ``model`` the method is fitted to these images alone: they show what regions and edges will be
    like, while the classes of a whole data set are better told apart.

    Args:
        items: the images; more than a dozen make the picture long.
        config: settings.
        model: ``DIR/model`` of a finished run, whose classes are shown.
        progress: where stages report to.

    Raises:
        UsageError: impossible settings.
        MissingDependencyError: weights or an asked-for refiner are not there.
        PseudoMaskError: not one image could be read.
    """
    with tempfile.TemporaryDirectory(prefix="pseudomask-preview-") as folder:
        result = label_items(items, Path(folder), config, model=model, progress=progress)
        present = {id_ for row in result.labelled for id_ in row.classes}
        return Preview(
            picture=_draw(result, {item.key: item for item in items}, fitted=model is not None),
            labelled=len(result.labelled),
            skipped=[(row.image, row.error) for row in result.skipped],
            classes=len(present),
            seconds=result.run["seconds"]["total"],
        )


def _draw(result: LabelResult, items: dict[str, ImageItem], *, fitted: bool) -> bytes:
    how = "classes of the chosen run" if fitted else "fitted to these images alone"
    title = f"{result.run['settings']['method']} · {len(result.labelled)} images · {how}"
    sheet = contact_sheet(_pairs(result, items), result.class_names, title, columns=2, cell=CELL)
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _pairs(result: LabelResult, items: dict[str, ImageItem]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for row in result.labelled:
        try:
            image = read_image(items[row.image].path)
        except ImageReadError:
            continue  # gone since it was labelled a moment ago
        yield row.image, image, read_mask(result.mask_path(row))
