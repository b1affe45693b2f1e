"""Operator ``label_dataset``: a form that explains itself, and every image of the view gets a pseudo-mask."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, ClassVar

import fiftyone.operators as foo
from fiftyone.operators import types

from fiftyone_plugin.dataset.database import dataset_id
from fiftyone_plugin.dataset.keys import run_key
from fiftyone_plugin.dataset.record import RunFields
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.methods import DEFAULT_METHOD

from .base import PseudoMaskOperator
from .forms.fields import first_reasons, refuse
from .forms.settings import (
    DEFAULT_CLASSES,
    add_settings,
    estimate_run,
    form_values,
    read_settings,
    target_or_reason,
)
from .panel.colours import color_scheme
from .params import Params
from .running import DELEGATE_ABOVE_S, in_app, run_with_progress

__all__ = ["LabelDataset"]

DEFAULT_FIELD = "pseudo_mask"
SCHEDULED = "Scheduled work is done by a worker, which has to run: fiftyone delegated launch"


class LabelDataset(PseudoMaskOperator):
    """Thin shell around :func:`fiftyone_plugin.label_dataset`."""

    listed: ClassVar[dict[str, Any]] = {
        "name": "label_dataset",
        "label": "Label dataset with pseudo-masks",
        "description": "Give every image a semantic pseudo-mask, without labels and without prompts",
        "icon": "auto_awesome",
    }

    def resolve_placement(self, ctx: Any) -> Any:
        """Put a button above the sample grid."""
        return types.Placement(
            types.Places.SAMPLES_GRID_SECONDARY_ACTIONS,
            types.Button(label="Pseudo-masks: label these images", icon="auto_awesome", prompt=True),
        )

    title = "Label images with pseudo-masks"

    def seconds(self, ctx: Any, params: Params) -> float:
        """What the estimate says."""
        view, reason = target_or_reason(ctx)
        return 0.0 if reason else estimate_run(view, params).seconds

    def form(self, ctx: Any, inputs: Any, params: Params) -> None:
        """Add the inputs; every value has a default."""
        view, reason = target_or_reason(ctx)
        inputs.str(
            "field",
            default=DEFAULT_FIELD,
            required=True,
            label="Field",
            description="New field for the masks; classes, coverage, quality and confidence go beside it",
        )
        if reason:
            inputs.view("unfit", types.Error(label="These samples cannot be labelled", description=reason))
            refuse(inputs, "field", reason)
            return
        _check_field(ctx, inputs, params)
        _add_estimate(inputs, view, params)
        add_settings(inputs, params)

    def steps(self, ctx: Any, params: Params) -> Generator[Any, None, dict[str, Any]]:
        """Label the view, and return the counts."""
        from fiftyone_plugin.dataset.labelling import label_dataset

        view, reason = target_or_reason(ctx)
        if reason:
            raise UsageError(reason)
        field, settings = params.field("field", DEFAULT_FIELD), read_settings(params)
        overwrite, restart = params.flag("overwrite"), params.flag("restart")
        kept = reason_to_keep(ctx.dataset, field)
        if kept:
            raise UsageError(kept)

        def work(progress: Any) -> Any:
            return label_dataset(
                view,
                field,
                **settings,
                overwrite=overwrite,
                restart=restart,
                progress=progress,
            )

        result = yield from run_with_progress(ctx, work)
        summary = {
            "field": field,
            "labelled": len(result.labelled),
            "skipped": len(result.skipped),
            "reasons": first_reasons(result.skipped),
            "folder": str(result.out),
        }
        if in_app(ctx):
            yield ctx.ops.reload_dataset()
            yield ctx.ops.set_active_fields([field])
            yield ctx.trigger("set_color_scheme", color_scheme(result.class_names))
            yield ctx.ops.show_output(_outputs(summary).to_json(), summary)
        return summary

    def outputs(self, results: dict[str, Any]) -> Any:
        """Show the counts."""
        return _outputs(results)

    def __call__(
        self,
        view: Any,
        field: str = DEFAULT_FIELD,
        *,
        classes: int | str = DEFAULT_CLASSES,
        method: str = DEFAULT_METHOD,
        backbone: str | None = None,
        refine: str | None = None,
        size: int = 448,
        overwrite: bool = False,
        restart: bool = False,
        delegate: bool = False,
    ) -> Any:
        """Run from Python: ``foo.get_operator(uri)(view, ...)``.

        Args:
            view: dataset or view of images.
            field: new field for the masks.
            classes: number of classes, or ``auto`` where the method can find it.
            method: name of the method.
            backbone: backbone name or checkpoint path, ``None`` for the default.
            refine: ``crf`` or ``none``, ``None`` for the best that is here.
            size: side of the network input in pixels.
            overwrite: replace an earlier result in this field.
            restart: forget an unfinished run in this field.
            delegate: schedule the run instead of waiting for it.

        Returns:
            FiftyOne's execution result.
        """
        params = form_values(method, classes, backbone, refine, size)
        params |= {"field": field, "overwrite": overwrite, "restart": restart}
        context = {"view": view.view()}
        return foo.execute_operator(self.uri, context, params=params, request_delegation=delegate)


def _add_estimate(inputs: Any, view: Any, params: Params) -> None:
    """Say what the run will take, and where it had better be done."""
    found = estimate_run(view, params)
    images = len(view)
    label = f"{images} image{'' if images == 1 else 's'}: {found}"
    if found.seconds > DELEGATE_ABOVE_S:
        text = f"{found.origin.capitalize()}. Too long for the App, so it is scheduled. {SCHEDULED}"
        inputs.view("estimate", types.Warning(label=label, description=text))
    else:
        inputs.view("estimate", types.Notice(label=label, description=found.origin.capitalize()))


def _outputs(summary: dict[str, Any]) -> Any:
    outputs = types.Object()
    outputs.str("field", label="Field")
    outputs.int("labelled", label="Images labelled")
    outputs.int("skipped", label="Images skipped")
    if summary.get("reasons"):
        outputs.str("reasons", label="Why images were skipped")
    outputs.str("folder", label="Masks and records")
    return types.Property(outputs, view=types.View(label="Pseudo-masks"))


def _check_field(ctx: Any, inputs: Any, params: Params) -> None:
    """Mark the field where the run would be refused; offer what else can be done with an earlier one."""
    field = params.field("field", DEFAULT_FIELD)
    status, out = _run_of(ctx.dataset, field)
    kept = reason_to_keep(ctx.dataset, field)
    if kept:
        refuse(inputs, "field", kept)
    elif status not in (None, "complete"):
        _offer_to_go_on(inputs, field, out)
    elif status:
        inputs.bool(
            "overwrite",
            default=False,
            label="Overwrite",
            description="Replace the run in this field by a new one",
        )
        if not params.flag("overwrite"):
            refuse(
                inputs, "field", f"{field!r} was filled by an earlier run: choose another name, or Overwrite"
            )


def reason_to_keep(dataset: Any, field: str) -> str:
    """Return why a field must not be written; empty where it is free, or a run of this dataset fills it."""
    if dataset.has_run(run_key(field)):
        config = dataset.get_run_info(run_key(field)).config
        owner = getattr(config, "dataset_id", None)
        if owner and owner != dataset_id(dataset):  # a clone, or imported: the files are another dataset's
            return f"the run in {field!r} is of another dataset, of which this is a copy: choose another name"
        return ""
    taken = [name for name in RunFields(field).all if dataset.has_sample_field(name)]
    return (
        f"{taken[0]!r} exists and was not made by a run of pseudo-masks: choose another name" if taken else ""
    )


def _run_of(dataset: Any, field: str) -> tuple[str | None, str]:
    """Return status and folder of the run that fills a field, ``None`` where there is none."""
    key = run_key(field)
    if not dataset.has_run(key):
        return None, ""
    config = dataset.get_run_info(key).config
    return getattr(config, "status", "complete"), getattr(config, "out", "")


def _offer_to_go_on(inputs: Any, field: str, out: str) -> None:
    from fiftyone_plugin.runs.stopping import is_at_work

    if is_at_work(Path(out)):
        refuse(inputs, "field", f"a run is at work on {field!r}: wait, stop it, or choose another name")
        return
    text = "It goes on where it stopped, if images and settings are the same"
    inputs.view("unfinished", types.Notice(label=f"{field!r} holds an unfinished run", description=text))
    inputs.bool(
        "restart", default=False, label="Start over", description="Forget what is done of the unfinished run"
    )
