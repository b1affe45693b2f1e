"""Labels to learn from, as a part of a form: whose, and from which run on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone as fo
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.dataset.overlays import list_overlays
from fiftyone_plugin.dataset.record import RunRecord, list_runs
from fiftyone_plugin.runs.model import FittedModel

from ..base import once
from ..params import Params
from .fields import choose, show_name

__all__ = ["ANEW", "NOTHING_YET", "add_lesson", "label_fields", "read_lesson"]

NOTHING_YET, ANEW = "-", "-"
KINDS = [fo.Segmentation, fo.Detections, fo.Polylines]
CLUSTERS = (0, 1000)


@once
def label_fields(ctx: ExecutionContext) -> dict[str, str]:
    """Return field -> label of the fields that hold a person's labels, and of none; empty without any."""
    made = {name for run in list_runs(ctx.dataset) for name in run.fields}
    made |= {each.name for each in list_overlays(ctx.dataset)}
    fields = ctx.dataset.get_field_schema(embedded_doc_type=KINDS)
    given = {name: show_name(name) for name in fields if name not in made}
    return {NOTHING_YET: "none", **given} if given else {}


@once
def _teachable(ctx: ExecutionContext) -> dict[str, RunRecord]:
    """Return mask field -> finished run of the default method, whose model can be taught."""
    runs = (run for run in list_runs(ctx.dataset) if run.is_complete)
    runs = (run for run in runs if run.settings.get("method") in ("mosaic", "taught"))
    return {run.field: run for run in runs if FittedModel.is_in(Path(run.out) / "model")}


def add_lesson(ctx: ExecutionContext, inputs: types.Object, params: Params) -> bool:
    """Add whose labels are learnt from, where there are any; returns whether a finished run is taught."""
    fields = label_fields(ctx)
    if not fields:
        return False
    text = "Classes are learnt from these labels, of some images or parts of them; the field stays as it is"
    choose(inputs, "labels", fields, default=NOTHING_YET, label="Learn from labels", description=text)
    if params.one_of("labels", fields, NOTHING_YET) == NOTHING_YET:
        return False
    runs = _teachable(ctx)
    choices = {ANEW: "the images, anew", **{name: f"the run in {show_name(name)}" for name in runs}}
    default = next(iter(runs), ANEW)
    text = "What a finished run knows of these images makes teaching quick; the run stays as it is"
    choose(inputs, "start", choices, default=default, label="Start from", description=text)
    text = "Clusters that no labelled image shows and that stay, as other 1, ..., at most"
    low, high = CLUSTERS
    inputs.int("discover", default=0, min=low, max=high, label="Other classes", description=text)
    params.whole("discover", 0, *CLUSTERS)
    return params.one_of("start", choices, default) != ANEW


def read_lesson(ctx: ExecutionContext, params: Params) -> dict[str, Any]:
    """Return the arguments of ``label_dataset`` that these values stand for."""
    fields = label_fields(ctx)
    labels = params.one_of("labels", fields or [NOTHING_YET], NOTHING_YET)
    if labels == NOTHING_YET:
        return {}
    runs = _teachable(ctx)
    start = params.one_of("start", [ANEW, *runs], next(iter(runs), ANEW))
    model = Path(runs[start].out) / "model" if start in runs else None
    return {"labels": labels, "discover": params.whole("discover", 0, *CLUSTERS), "model": model}
