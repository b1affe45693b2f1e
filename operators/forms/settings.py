"""The settings of a run as a form: shared by labelling and its preview."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.common.progress import Progress
from fiftyone_plugin.common.skipped import Skipped
from fiftyone_plugin.engines.registry import engines_here
from fiftyone_plugin.errors import MissingDependencyError, UsageError
from fiftyone_plugin.methods import DEFAULT_METHOD
from fiftyone_plugin.methods.registry import CATALOG
from fiftyone_plugin.runs.estimate import Estimate
from fiftyone_plugin.runs.result import LabelResult

from ..base import Messages, once, target_view
from ..params import Params
from ..running import in_app, run_with_progress, show_masks
from .fields import choose, count_of, first_reasons, refuse, there_is

__all__ = [
    "SHOWN",
    "add_engine",
    "add_settings",
    "describe_unfit",
    "estimate_run",
    "form_values",
    "labelled_view",
    "read_engine",
    "read_settings",
    "run_labelling",
]

DEFAULT_SIZE = 448
CLASSES = (1, 65_535)  # fewest and most
SIZES = (14, 4096)
OF_FILE = "file"
BY_DEFAULT = "default"
REFINEMENTS = {
    "crf": "dense CRF",
    "pydensecrf": "dense CRF of pydensecrf, on the CPU",
    "none": "none, quicker",
}
HERE = "local"
ENGINES = {HERE: "this machine", "ray": "a Ray cluster"}
WORKERS = (0, 10_000)
KEPT_S = 2.0  # an estimate: a keystroke asks for it in two requests, the form's and that for where to run
LOOKED_S = 120.0  # a look into a large view takes longer than everything else in the form
SHOWN = {
    "field": "Field",
    "labelled": "Images labelled",
    "skipped": "Images skipped",
    "reasons": "Why images were skipped",
    "folder": "Masks and records",
}
"""What labelling shows of its result."""
T = TypeVar("T")
_estimated: dict[str, tuple[float, tuple[int, Estimate]]] = {}
_looked_at: dict[str, tuple[float, tuple[int, list[str]]]] = {}

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


# ---------------------------------------------------------------------- the form


def add_settings(ctx: ExecutionContext, inputs: types.Object, params: Params) -> None:
    """Add method, classes, backbone, refinement and input size; what is impossible is marked."""
    method = _add_method(inputs, params)
    _add_classes(ctx, inputs, params, method)
    _add_backbone(inputs, params)
    _add_refinement(inputs, params)
    low, high = SIZES
    text = "Side of the network's input in pixels; twice as large: finer things, 4 x the time"
    inputs.int("size", default=DEFAULT_SIZE, min=low, max=high, label="Input size", description=text)


def _add_method(inputs: types.Object, params: Params) -> str:
    method = params.one_of("method", CATALOG, DEFAULT_METHOD)
    labels = {name: note.label for name, note in CATALOG.items()}
    note = CATALOG[method].note
    choose(inputs, "method", labels, default=DEFAULT_METHOD, label="Method", description=note)
    return method


def _add_classes(ctx: ExecutionContext, inputs: types.Object, params: Params, method: str) -> None:
    from fiftyone_plugin.runs.config import default_classes

    if CATALOG[method].finds_classes:
        text, label = "Read it off the images, between 5 and 60", "Find the number of classes"
        inputs.bool("auto_classes", default=False, label=label, description=text)
        if params.flag("auto_classes"):
            return
    default, (low, high) = default_classes(len(target_view(ctx))), CLASSES
    text = "Rather a few too many: classes can be merged afterwards"
    inputs.int("classes", default=default, min=low, max=high, label="Number of classes", description=text)


def _add_backbone(inputs: types.Object, params: Params) -> None:
    from fiftyone_plugin.features.backbones.registry import BACKBONES, describe_weights, is_here

    here = {name: is_here(name) for name in BACKBONES}
    choices = {BY_DEFAULT: "default"}
    choices |= {name: f"{name} ({'here' if here[name] else 'not here'})" for name in BACKBONES}
    choices[OF_FILE] = "a weights file"
    chosen = params.one_of("backbone", choices, BY_DEFAULT)
    if chosen == OF_FILE:
        description = "A checkpoint of a timm ViT on the machine where this runs"
    else:
        description = describe_weights(None if chosen == BY_DEFAULT else chosen)
    choose(inputs, "backbone", choices, default=BY_DEFAULT, label="Backbone", description=description)
    if chosen != OF_FILE:
        return
    suffixes = ", ".join(WEIGHT_SUFFIXES)
    text = f"Absolute path of a {suffixes} file; or TIMM_NAME=PATH"
    inputs.str("weights", label="Weights file", description=text)
    named = params.text("weights")
    path = Path(named.partition("=")[2] or named)
    if path.suffix not in WEIGHT_SUFFIXES:
        refuse(inputs, "weights", f"name a file that ends in {suffixes}")
    elif not path.is_absolute():
        refuse(inputs, "weights", "an absolute path, please: the server may run anywhere")
    elif not there_is(str(path)):
        refuse(inputs, "weights", f"there is no file {path}")


def _add_refinement(inputs: types.Object, params: Params) -> None:
    choices = {BY_DEFAULT: "as recommended (dense CRF)", **REFINEMENTS}
    text = "Makes the masks follow the edges of the photo"
    choose(inputs, "refine", choices, default=BY_DEFAULT, label="Refinement", description=text)
    if params.one_of("refine", choices, BY_DEFAULT) == "pydensecrf":
        from fiftyone_plugin.masks.refine import create_refiner

        try:
            create_refiner("pydensecrf")
        except MissingDependencyError as error:
            refuse(inputs, "refine", str(error))


# ---------------------------------------------------------------------- reading it


def read_settings(params: Params) -> dict[str, Any]:
    """Return the fields of :class:`fiftyone_plugin.LabelConfig` that the form's values stand for."""
    from fiftyone_plugin.features.backbones.registry import BACKBONES

    method = params.one_of("method", CATALOG, DEFAULT_METHOD)
    backbone = params.one_of("backbone", [BY_DEFAULT, OF_FILE, *BACKBONES], BY_DEFAULT)
    classes = params.whole("classes", None, *CLASSES)  # empty: what suits the number of images
    find = params.flag("auto_classes") and CATALOG[method].finds_classes
    refine = params.one_of("refine", (BY_DEFAULT, *REFINEMENTS), BY_DEFAULT)
    size = params.whole("size", DEFAULT_SIZE, *SIZES)
    weights = params.text("weights") or None
    if backbone == OF_FILE and weights is None and not params.lenient:
        raise UsageError("name the weights file")
    return {
        "method": method,
        "classes": "auto" if find else classes,
        "backbone": {BY_DEFAULT: None, OF_FILE: weights}.get(backbone, backbone),
        "refine": None if refine == BY_DEFAULT else refine,
        "size": size,
    }


def form_values(
    classes: int | str | None = None,
    method: str = DEFAULT_METHOD,
    backbone: str | None = None,
    refine: str | None = None,
    size: int = DEFAULT_SIZE,
) -> dict[str, object]:
    """Return the form's values for settings given in Python; the inverse of :func:`read_settings`.

    ``None`` stands for the default. ``classes`` is ``auto`` where the method can find it; ``backbone`` may be
    the path of a checkpoint; ``size`` is the side of the network's input in pixels.
    """
    from fiftyone_plugin.features.backbones.registry import BACKBONES

    values: dict[str, object] = {"method": method, "size": size, "refine": refine or BY_DEFAULT}
    values |= {"auto_classes": True} if classes == "auto" else {"classes": classes}
    if backbone is None or backbone in BACKBONES:
        return {**values, "backbone": backbone or BY_DEFAULT}
    return {**values, "backbone": OF_FILE, "weights": backbone}


@once
def labelled_view(ctx: ExecutionContext) -> foc.SampleCollection:
    """Return the view that a run or its form is about.

    Raises:
        UsageError: it cannot be labelled.
    """
    from fiftyone_plugin.images.listing import check_view

    view = target_view(ctx, require_flat=True)
    check_view(view)
    return view


def describe_unfit(ctx: ExecutionContext, inputs: types.Object) -> str:
    """Say in a form why its view cannot be labelled, and return that; empty if it can."""
    try:
        labelled_view(ctx)
    except UsageError as error:
        inputs.view("unfit", types.Error(label="These samples cannot be labelled", description=str(error)))
        return str(error)
    return ""


def run_labelling(ctx: ExecutionContext, field: str, work: Callable[[Progress], LabelResult]) -> Messages:
    """Do a run with progress, show its masks in the App, and return what is told of it."""
    result = yield from run_with_progress(ctx, work, field=field)
    reasons = first_reasons([Skipped(row.image, row.error) for row in result.skipped])
    if in_app(ctx):
        yield from show_masks(ctx, field)
        skipped = f", {len(result.skipped)} left out ({reasons})" if result.skipped else ""
        text = f"{count_of(len(result.labelled))} labelled in {field!r}{skipped}"
        yield ctx.ops.notify(text, variant="success")
    return {
        "field": field,
        "labelled": len(result.labelled),
        "skipped": len(result.skipped),
        "reasons": reasons,
        "folder": str(result.out),
    }


# ---------------------------------------------------------------------- what it will take


def estimate_run(view: foc.SampleCollection, params: Params, *, fitted: bool = False) -> tuple[int, Estimate]:
    """Count the images of a view and estimate a run on them, ``fitted`` if with a model that is there.

    Asked again at once, it answers the same.
    """
    from fiftyone_plugin.runs.estimate import estimate
    from fiftyone_plugin.runs.planning import SAMPLED, plan_run

    settings = read_settings(params)
    del settings["classes"]  # hardly matters
    stages = view.view()._serialize(include_uuids=False)
    of_view = json.dumps([str(view._dataset._doc.id), len(view._dataset), stages], default=str)

    def look() -> tuple[int, list[str]]:
        images = len(view)
        starts = sorted({0, images // 2, max(0, images - SAMPLED)})
        paths = [view.skip(start).limit(SAMPLED).values("filepath") for start in starts]
        return images, list(chain.from_iterable(paths))

    def find() -> tuple[int, Estimate]:
        images, paths = _recent(_looked_at, of_view, LOOKED_S, look)  # no setting changes them
        return images, estimate(plan_run(images, paths, **settings, fitted=fitted))

    return _recent(_estimated, json.dumps([of_view, settings, fitted], default=str), KEPT_S, find)


def _recent(kept: dict[str, tuple[float, T]], key: str, seconds: float, find: Callable[[], T]) -> T:
    """Return what was kept last, if it is of this key and no older than this, else what is found now."""
    now, known = time.monotonic(), kept.get(key)
    if known is None or now - known[0] > seconds:
        found = find()
        kept.clear()
        known = kept[key] = now, found
    return known[1]


# ---------------------------------------------------------------------- where it is done


def add_engine(inputs: types.Object, params: Params) -> None:
    """Add the choice of an engine, and what that needs; nothing where there is no choice."""
    names = engines_here()
    if len(names) < 2:
        return
    text = "Masks are written to the run's folder, which all machines must share"
    choices = {name: ENGINES[name] for name in names}
    choose(inputs, "engine", choices, default=HERE, label="Where", description=text)
    if params.one_of("engine", names, HERE) == HERE:
        return
    text = "HOST:PORT, or auto on a machine of it; empty: a cluster of this machine alone, for this run"
    inputs.str("address", default="", label="Address of the cluster", description=text)
    address = params.text("address")
    if address and address != "auto" and ":" not in address:
        refuse(inputs, "address", "HOST:PORT, or auto")
    text = "Worker processes; 0: as many as there is room for"
    low, high = WORKERS
    inputs.int("workers", default=0, min=low, max=high, label="Workers", description=text)


def read_engine(params: Params) -> dict[str, Any]:
    """Return the fields of :class:`fiftyone_plugin.LabelConfig` that these values stand for."""
    if params.one_of("engine", engines_here(), HERE) == HERE:
        return {}
    workers = params.whole("workers", 0, *WORKERS)
    return {"engine": "ray", "address": params.text("address") or None, "workers": workers or None}
