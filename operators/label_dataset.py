"""Operator ``label_dataset``: a form that explains itself, and every image of the view gets a pseudo-mask."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.methods import DEFAULT_METHOD
from fiftyone_plugin.run_keys import run_key

from .forms import refuse
from .label_form import (
    DEFAULT_CLASSES,
    add_settings,
    estimate_run,
    form_values,
    read_settings,
    target_or_reason,
)
from .progress import DELEGATE_ABOVE_S, execution_options, in_app, run_with_progress, stream_or_run
from .quick_label import color_scheme

__all__ = ["LabelDataset"]

DEFAULT_FIELD = "pseudo_mask"
SCHEDULED = "Scheduled work is done by a worker, which has to run: fiftyone delegated launch"


class LabelDataset(foo.Operator):
    """Thin shell around :func:`fiftyone_plugin.label_dataset`."""

    @property
    def config(self) -> Any:
        """How the App shows and runs the operator."""
        return foo.OperatorConfig(
            name="label_dataset",
            label="Label dataset with pseudo-masks",
            description="Give every image a semantic pseudo-mask, without labels and without prompts",
            icon="auto_awesome",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=RiskLevel.LOW,
        )

    def resolve_placement(self, ctx: Any) -> Any:
        """Put a button above the sample grid."""
        return types.Placement(
            types.Places.SAMPLES_GRID_SECONDARY_ACTIONS,
            types.Button(label="Pseudo-masks: label these images", icon="auto_awesome", prompt=True),
        )

    def resolve_execution_options(self, ctx: Any) -> Any:
        """Offer delegation first where the run would take long."""
        view, reason = target_or_reason(ctx)
        return execution_options(0.0 if reason else estimate_run(view, ctx.params).seconds)

    def resolve_input(self, ctx: Any) -> Any:
        """Build the form; every value has a default."""
        inputs = types.Object()
        title = types.View(label="Label images with pseudo-masks")
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
            return types.Property(inputs, view=title)
        _check_field(ctx, inputs)
        _add_estimate(inputs, view, ctx.params)
        add_settings(ctx, inputs)
        return types.Property(inputs, view=title)

    def execute(self, ctx: Any) -> Any:
        """Label the view: a stream of progress for the App, or the counts of a delegated run."""
        return stream_or_run(ctx, self._steps(ctx))

    def _steps(self, ctx: Any) -> Generator[Any, None, dict[str, Any]]:
        from fiftyone_plugin.datasets import label_dataset

        field = ctx.params.get("field") or DEFAULT_FIELD
        view = ctx.target_view(require_flat=True)

        def work(progress: Any) -> Any:
            return label_dataset(
                view,
                field,
                **read_settings(ctx.params),
                overwrite=bool(ctx.params.get("overwrite", False)),
                restart=bool(ctx.params.get("restart", False)),
                progress=progress,
            )

        result = yield from run_with_progress(ctx, work)
        summary = {
            "field": field,
            "labelled": len(result.labelled),
            "skipped": len(result.skipped),
            "reasons": "; ".join(f"{row.image}: {row.error}" for row in result.skipped[:5]),
            "folder": str(result.out),
        }
        if in_app(ctx):
            yield ctx.ops.reload_dataset()
            yield ctx.ops.set_active_fields([field])
            yield ctx.trigger("set_color_scheme", color_scheme(result.class_names))
            yield ctx.ops.show_output(_outputs(summary).to_json(), summary)
        return summary

    def resolve_output(self, ctx: Any) -> Any:
        """Show the counts."""
        return _outputs(ctx.results or {})

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


def _add_estimate(inputs: Any, view: Any, params: dict[str, Any]) -> None:
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


def _check_field(ctx: Any, inputs: Any) -> None:
    """Mark the field where the run would be refused; offer what else can be done with an earlier one."""
    field = ctx.params.get("field") or DEFAULT_FIELD
    if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]*", field):
        refuse(inputs, "field", "letters, digits and _ only, beginning with a letter")
        return
    status, out = _run_of(ctx.dataset, field)
    if status not in (None, "complete"):
        _offer_to_go_on(inputs, field, out)
        return
    if not (status or ctx.dataset.has_sample_field(field)):
        return
    inputs.bool(
        "overwrite", default=False, label="Overwrite", description="Replace what is in this field now"
    )
    if not ctx.params.get("overwrite"):
        filled = "was filled by an earlier run" if status else "exists"
        refuse(inputs, "field", f"{field!r} {filled}: choose another name, or Overwrite")


def _run_of(dataset: Any, field: str) -> tuple[str | None, str]:
    """Return status and folder of the run that fills a field, ``None`` where there is none."""
    key = run_key(field)
    if not dataset.has_run(key):
        return None, ""
    config = dataset.get_run_info(key).config
    return getattr(config, "status", "complete"), getattr(config, "out", "")


def _offer_to_go_on(inputs: Any, field: str, out: str) -> None:
    from fiftyone_plugin.stopping import is_at_work

    if is_at_work(Path(out)):
        refuse(inputs, "field", f"a run is at work on {field!r}: wait, stop it, or choose another name")
        return
    text = "It goes on where it stopped, if images and settings are the same"
    inputs.view("unfinished", types.Notice(label=f"{field!r} holds an unfinished run", description=text))
    inputs.bool(
        "restart", default=False, label="Start over", description="Forget what is done of the unfinished run"
    )
