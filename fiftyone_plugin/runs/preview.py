"""What settings do to a handful of images, as one picture; nothing is kept but cached features."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
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
    """What came of it, as numbers and as a picture."""

    picture: bytes  # JPEG of photo and overlay side by side, with a legend
    labelled: int  # images shown
    skipped: list[tuple[str, str]]  # (image, reason) of those that could not be labelled
    classes: int  # that occur
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
    like, while the classes of a whole data set are better told apart. With it, ``DIR/model`` of a finished
    run, the classes of that run are shown. More than a dozen images make the picture long.

    Raises:
        UsageError: impossible settings.
        MissingDependencyError: weights or an asked-for refiner are not there.
        PseudoMaskError: not one image could be read.
    """
    with tempfile.TemporaryDirectory(prefix="pseudomask-preview-") as folder:
        result = label_items(items, Path(folder), config, model=model, progress=progress)
        how = "classes of the chosen run" if model is not None else "fitted to these images alone"
        title = f"{result.run['settings']['method']} · {len(result.labelled)} images · {how}"
        pairs = _pairs(result, {item.key: item.path for item in items})
        picture = io.BytesIO()
        sheet = contact_sheet(pairs, result.class_names, title, columns=2, cell=CELL)
        sheet.save(picture, "JPEG", quality=QUALITY)
        return Preview(
            picture=picture.getvalue(),
            labelled=len(result.labelled),
            skipped=[(row.image, row.error) for row in result.skipped],
            classes=len({id_ for row in result.labelled for id_ in row.classes}),
            seconds=result.run["seconds"]["total"],
        )


def _pairs(result: LabelResult, paths: dict[str, str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for row in result.labelled:
        with suppress(ImageReadError):  # gone since it was labelled a moment ago
            yield row.image, read_image(paths[row.image]), read_mask(result.mask_path(row))
