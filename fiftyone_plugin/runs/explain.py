"""Every stage of a method on one photo, as a strip of captioned panels."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.progress import NullProgress, Progress
from ..errors import PseudoMaskError, UsageError
from ..images.drawing import Panel, draw_panels
from ..images.listing import list_images
from ..masks.refine import create_refiner
from ..methods.base import Method
from ..methods.registry import create_method, list_methods
from .config import LabelConfig, resolve_refinement, with_number_of_classes
from .model import FittedModel, create_configured
from .session import Session
from .streaming import label_images

if TYPE_CHECKING:
    from PIL import Image

    from ..features.source import ImageFeatureSource

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True)
class Explanation:
    """The stages of a method on one image."""

    title: str  # method, backbone and what the method was fitted on
    fitted_on: str  # what the method learnt from, in words
    panels: list[Panel]  # photo, the method's own stages, final mask
    labels: np.ndarray  # (H, W) int final mask at native size

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

    ``image`` is an image file; or a folder, glob or list, of which the first image is shown. The method is
    fitted on the images ``fit_on``, else on those that ``image`` names; or it is that of a ``model``,
    ``DIR/model`` of an earlier run, whose size, refinement and backbone are used too. The settings are fields
    of :class:`~fiftyone_plugin.runs.config.LabelConfig`, e.g. ``method="datus"``.

    Raises:
        UsageError: contradictory settings, or a method that shows no stages.
        PseudoMaskError: the image cannot be read.
    """
    if model is not None and fit_on is not None:
        raise UsageError("a fitted model and images to fit on exclude each other")
    config = LabelConfig(**settings)
    listed = list_images(image)
    learn = list_images(fit_on) if fit_on is not None else listed
    config = with_number_of_classes(config, len(learn))
    given = FittedModel.load(Path(model)) if model is not None else None
    refine = resolve_refinement(given.refine if given else config.refine)
    method = given.method if given else create_configured(config, refine)
    if not method.can_explain:
        those = ", ".join(name for name in list_methods() if create_method(name).can_explain)
        raise UsageError(f"method {method.name} does not show its stages; those that do: {those}")
    session = Session.open(config, given)
    session.prepare(method)
    with tempfile.TemporaryDirectory(prefix="pseudomask-explain-") as memo:
        layers, tiles = method.inputs, method.seen_in_tiles
        if given is None:
            method.fit(session.source(learn, layers, Path(memo), tiles), progress=progress or NullProgress())
        source = session.source(listed[:1], layers, Path(memo), tiles)
        fitted_on = "this image alone" if len(learn) == 1 else f"{len(learn)} images"
        if model is not None:
            fitted_on = f"the model in {Path(model).parent.name or model}"
        return _stages(method, source, session, refine, fitted_on)


def _stages(
    method: Method, source: ImageFeatureSource, session: Session, refine: str, fitted_on: str
) -> Explanation:
    """Label the one image of ``source`` and collect its panels."""
    for image in source:
        for _, labelled in label_images(source, session.replicas(method), create_refiner(refine)):
            labels = labelled.mask()
            n = len(np.unique(labels[labels > 0]))
            panels = [
                Panel("photo", image.read_image(), "photo"),
                *method.explain(image),
                Panel(f"mask: {n} {'class' if n == 1 else 'classes'}", labels, "labels"),
            ]
            title = f"{method.name} · {session.backbone.name} · fitted on {fitted_on}"
            return Explanation(title, fitted_on, panels, labels)
    (key, reason), *_ = source.failures.items()
    raise PseudoMaskError(f"{key}: {reason}; choose another image")
