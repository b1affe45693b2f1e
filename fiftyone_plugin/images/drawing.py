"""Pictures of masks: class colours, overlays, and the contact sheet of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .palette import class_color

__all__ = ["Panel", "PanelKind", "contact_sheet", "draw_panels", "overlay"]

BACKGROUND = (250, 250, 250)
INK = (30, 30, 30)
GAP, CAPTION = 10, 20


def overlay(image: np.ndarray, mask: np.ndarray, alpha: float = 0.55) -> np.ndarray:
    """Blend class colours over an image; label 0 stays as it is, classes get a thin dark outline inside.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) int.
        alpha: weight of the colour, 0..1.

    Returns:
        (H, W, 3) uint8.
    """
    labels, inverse = np.unique(mask, return_inverse=True)
    colours = np.array([class_color(int(v)) if v else (0, 0, 0) for v in labels], np.float32)
    colour = colours[inverse.reshape(mask.shape)]
    weight = np.where(mask > 0, alpha, 0.0).astype(np.float32)[..., None]
    blended = image * (1 - weight) + colour * weight
    wide = np.pad(mask, 1, mode="edge")
    neighbours = wide[1:-1, 2:], wide[1:-1, :-2], wide[2:, 1:-1], wide[:-2, 1:-1]
    edge = np.any([neighbour != mask for neighbour in neighbours], axis=0)
    blended[edge & (mask > 0)] *= 0.4
    return np.asarray(blended.round().clip(0, 255), np.uint8)


def _fit(image: np.ndarray, mask: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Bring a picture and its mask to the size of a cell, aspect kept."""
    scale = min(width / image.shape[1], height / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    photo = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    labels = Image.fromarray(mask.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
    return np.asarray(photo), np.asarray(labels)


def contact_sheet(
    pairs: Iterable[tuple[str, np.ndarray, np.ndarray]],
    names: Mapping[int, str],
    title: str,
    columns: int = 3,
    cell: tuple[int, int] = (230, 172),
) -> Image.Image:
    """Draw photo and overlay side by side for every image, with a legend of the classes that occur, in RGB.

    ``pairs`` are (caption, (H, W, 3) uint8 image, (H, W) int mask), read one at a time and shrunk at once;
    ``columns`` of them are in one row. ``cell`` is the (width, height) of one picture in pixels.
    """
    font, small = ImageFont.load_default(16), ImageFont.load_default(12)
    width, height, gap, caption = *cell, GAP, 18
    present: set[int] = set()
    cells: list[tuple[str, np.ndarray, np.ndarray]] = []
    for text, image, mask in pairs:
        present.update(int(label) for label in np.unique(mask) if label)
        cells.append((text, *_fit(image, mask, width, height)))
    columns = max(1, min(columns, len(cells)))
    rows = -(-len(cells) // columns)
    sheet_width = max(columns * (2 * width + 2 * gap) + gap, 640)
    per_line = max(1, (sheet_width - 2 * gap) // 150)
    legend_lines = -(-len(present) // per_line)
    top = 40 + 22 * legend_lines
    sheet = Image.new("RGB", (sheet_width, top + rows * (height + caption + gap) + gap), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((gap, 10), title, fill=INK, font=font)
    for i, label in enumerate(sorted(present)):
        x, y = gap + (i % per_line) * 150, 38 + 22 * (i // per_line)
        draw.rectangle((x, y, x + 14, y + 14), fill=class_color(label), outline=INK)
        draw.text((x + 20, y), _shorten(names.get(label, str(label)), 18), fill=INK, font=small)
    for i, (text, photo, labels) in enumerate(cells):
        x = gap + (i % columns) * (2 * width + 2 * gap)
        y = top + (i // columns) * (height + caption + gap)
        sheet.paste(Image.fromarray(photo), (x, y))
        sheet.paste(Image.fromarray(overlay(photo, labels)), (x + photo.shape[1] + 4, y))
        draw.text((x, y + photo.shape[0] + 1), _shorten(text, 2 * width // 7), fill=INK, font=small)
    return sheet


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length // 2 - 1] + "…" + text[-(length // 2) :]


PanelKind = Literal["photo", "labels", "heat"]


@dataclass(frozen=True)
class Panel:
    """One stage of a method on one image.

    Attributes:
        title: caption, a few words; numbers that matter belong here, e.g. ``"4 communities"``.
        array: by kind, at any resolution that covers the whole image:
            ``photo``: (h, w, 3) uint8 RGB, shown as it is;
            ``labels``: (h, w) int, drawn in class colours over the photo; 0 is left uncoloured;
            ``heat``: (h, w) float, drawn from its lowest value (dark) to its highest (bright).
        kind: see ``array``.
        mark: (row, column) of a cell of ``array`` to outline.
    """

    title: str
    array: np.ndarray
    kind: PanelKind
    mark: tuple[int, int] | None = None


def draw_panels(
    panels: Sequence[Panel], title: str, *, columns: int | None = None, width: int = 240
) -> Image.Image:
    """Draw panels, at least one, side by side in one aspect ratio, that of the first, which is the photo.

    ``columns`` are in one row, all if ``None``; ``width`` is that of one panel in pixels. The image is RGB.
    """
    native = panels[0].array.shape
    height = max(1, round(width * native[0] / native[1]))
    columns = min(columns or len(panels), len(panels))
    rows = -(-len(panels) // columns)
    top = 34
    size = (columns * (width + GAP) + GAP, top + rows * (height + CAPTION + GAP))
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 9), title, fill=INK, font=ImageFont.load_default(14))
    photo = np.asarray(Image.fromarray(panels[0].array).resize((width, height), Image.Resampling.BICUBIC))
    for i, panel in enumerate(panels):
        x = GAP + (i % columns) * (width + GAP)
        y = top + (i // columns) * (height + CAPTION + GAP)
        sheet.paste(Image.fromarray(_picture(panel, photo)), (x, y))
        if panel.mark is not None:
            h, w = panel.array.shape[:2]
            (row, column) = panel.mark
            cell = (column / w, row / h, (column + 1) / w, (row + 1) / h)
            corners = [a + b * s for a, b, s in zip((x, y, x, y), cell, (width, height) * 2, strict=True)]
            draw.rectangle(corners, outline=(255, 60, 60), width=2)
        draw.text((x, y + height + 3), panel.title, fill=INK, font=ImageFont.load_default(12))
    return sheet


def _picture(panel: Panel, photo: np.ndarray) -> np.ndarray:
    """Return the (H, W, 3) uint8 picture of a panel, at the size of ``photo``."""
    size = (photo.shape[1], photo.shape[0])
    if panel.kind == "photo":
        return np.asarray(Image.fromarray(panel.array).resize(size, Image.Resampling.BICUBIC))
    if panel.kind == "labels":
        labels = Image.fromarray(panel.array.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
        return overlay(photo, np.asarray(labels), alpha=0.65)
    values = np.asarray(panel.array, np.float32)
    low, high = float(values.min()), float(values.max())
    scaled = Image.fromarray((values - low) / max(high - low, 1e-12)).resize(size, Image.Resampling.NEAREST)
    from matplotlib import colormaps  # only here: it takes a third of a second to import

    colours = np.asarray(colormaps["viridis"](np.asarray(scaled)))[..., :3]
    return np.asarray(np.rint(255 * colours), np.uint8)
