"""Every stage of a method on one photo, as a strip of captioned panels."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .config import LabelConfig, resolve_refinement
from .errors import PseudoMaskError, UsageError
from .methods.panels import Explainable, Panel
from .progress import NullProgress, Progress
from .sources import ImageItem, list_images

if TYPE_CHECKING:
    from PIL import Image

    from .features.source import ImageFeatureSource
    from .methods.base import Method

__all__ = ["Explanation", "draw_panels", "explain"]

logger = logging.getLogger(__name__)

GAP, CAPTION = 10, 20
VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


@dataclass(frozen=True)
class Explanation:
    """The stages of a method on one image.

    Attributes:
        title: method, backbone and what the method was fitted on.
        fitted_on: what the method learnt from, in words.
        panels: photo, the method's own stages, final mask.
        labels: (H, W) int final mask at native size.
    """

    title: str
    fitted_on: str
    panels: list[Panel]
    labels: np.ndarray

    def draw(self, columns: int | None = None, width: int = 240) -> Image.Image:
        """Draw the panels, see :func:`draw_panels`."""
        return draw_panels(self.panels, self.title, columns=columns, width=width)


def explain(
    image: str | Path,
    *,
    fit_on: str | Path | None = None,
    model: str | Path | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Explanation:
    """Run a method on one image and keep every stage.

    Args:
        image: an image file; or a folder, glob or list, of which the first image is shown.
        fit_on: images to fit the method on; ``None``: those that ``image`` names.
        model: ``DIR/model`` of an earlier run, instead of fitting; its method, size, refinement and backbone
            are used.
        progress: where stages report to.
        settings: fields of :class:`~fiftyone_plugin.config.LabelConfig`, e.g. ``method="datus"``.

    Raises:
        UsageError: contradictory settings, or a method that shows no stages.
        PseudoMaskError: the image cannot be read.
    """
    from .assembly import create_configured, load_configured_backbone, open_store
    from .provenance import check_weights, read_model, saved_backbone

    if model is not None and fit_on is not None:
        raise UsageError("a fitted model and images to fit on exclude each other")
    try:
        config = LabelConfig(**settings)
    except TypeError as error:
        raise UsageError(f"unknown setting: {error}") from error
    config.validate()
    listed = list_images(image)
    learn = list_images(fit_on) if fit_on is not None else listed
    saved = read_model(Path(model)) if model is not None else None
    if saved is not None:
        config = dataclasses.replace(
            config,
            size=saved["size"],
            refine=saved["refine"],
            backbone=config.backbone or saved_backbone(saved),
        )
    refine = resolve_refinement(config.refine)
    method = _load(Path(model)) if model is not None else create_configured(config, refine)
    method.n_jobs = config.jobs
    if not isinstance(method, Explainable):
        raise UsageError(f"method {method.name} does not show its stages; those that do: {_explainable()}")
    backbone = load_configured_backbone(config.backbone, config)
    if saved is not None:
        check_weights(saved, backbone)
    store = open_store(backbone, config.size, config)
    try:
        with tempfile.TemporaryDirectory(prefix="pseudomask-explain-") as memo:

            def source(items: list[ImageItem]) -> ImageFeatureSource:
                from .features.source import ImageFeatureSource

                return ImageFeatureSource(
                    items, backbone, method.layers, size=config.size, store=store, memo_dir=Path(memo)
                )

            if model is None:
                method.fit(source(learn), progress=progress or NullProgress())
            return _stages(method, source(listed[:1]), backbone.name, refine, _words(model, learn))
    finally:
        if store is not None:
            store.close()


def _load(model: Path) -> Method:
    from .methods.base import load_method

    return load_method(model)


def _explainable() -> str:
    from .methods.base import create_method, list_methods

    return ", ".join(name for name in list_methods() if isinstance(create_method(name), Explainable))


def _words(model: str | Path | None, items: list[ImageItem]) -> str:
    if model is not None:
        return f"the model in {Path(model).parent.name or model}"
    return "this image alone" if len(items) == 1 else f"{len(items)} images"


def _stages(
    method: Any, source: ImageFeatureSource, backbone_name: str, refine: str, fitted_on: str
) -> Explanation:
    """Label the one image of ``source`` and collect its panels."""
    from .native import native_labels
    from .refinement import create_refiner

    for image in source.lazy():
        pixels = image.read_image()
        labels = native_labels(method.predict(image), image.size, image.read_image, create_refiner(refine))
        n = len(np.unique(labels[labels > 0]))
        panels = [
            Panel("photo", pixels, "photo"),
            *method.explain(image),
            Panel(f"mask: {n} {'class' if n == 1 else 'classes'}", labels, "labels"),
        ]
        title = f"{method.name} · {backbone_name} · fitted on {fitted_on}"
        return Explanation(title, fitted_on, panels, labels)
    (key, reason), *_ = source.failures.items()
    raise PseudoMaskError(f"{key}: {reason}; choose another image")


# ---------------------------------------------------------------------- drawing


def draw_panels(
    panels: list[Panel], title: str, *, columns: int | None = None, width: int = 240
) -> Image.Image:
    """Draw panels side by side in one aspect ratio, that of the first, which is the photo.

    Args:
        panels: at least one; the first of kind ``photo``.
        title: line at the top.
        columns: panels in one row, all if ``None``.
        width: of one panel, pixels.

    Returns:
        An RGB image.
    """
    from PIL import Image, ImageDraw, ImageFont

    from .visual import BACKGROUND, INK

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
    from PIL import Image

    from .visual import overlay

    size = (photo.shape[1], photo.shape[0])
    if panel.kind == "photo":
        return np.asarray(Image.fromarray(panel.array).resize(size, Image.Resampling.BICUBIC))
    if panel.kind == "labels":
        labels = Image.fromarray(panel.array.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
        return overlay(photo, np.asarray(labels), alpha=0.65)
    values = np.asarray(panel.array, np.float32)
    low, high = float(values.min()), float(values.max())
    values = (values - low) / max(high - low, 1e-12)
    scaled = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.NEAREST))
    stops = np.array(VIRIDIS, np.float32)
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(scaled, at, stops[:, c]) for c in range(3)], -1).round().astype(np.uint8)
