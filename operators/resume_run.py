"""Operator ``resume_run``: go on with a run that was stopped, with its own settings."""

from __future__ import annotations

import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.dataset.record import RunRecord
from fiftyone_plugin.dataset.resuming import done_of, unfinished_runs
from fiftyone_plugin.errors import UsageError

from .base import Messages, Outcome, PseudoMaskOperator, entry, once
from .forms.fields import block, choose
from .forms.settings import SHOWN, run_labelling
from .params import Params

__all__ = ["ResumeRun"]

NOTHING = "no run of this dataset waits to go on"
SECONDS_AN_IMAGE = 0.6  # on two cores


class ResumeRun(PseudoMaskOperator):
    """Go on with a run of pseudo-masks that was stopped or interrupted."""

    listed = entry("Go on labelling", "play_circle")
    title, done = "Go on labelling", "Pseudo-masks"
    submit = "Go on"
    apart = True
    shown = SHOWN

    def seconds(self, ctx: ExecutionContext, params: Params) -> float:
        """Grows with the images that are left."""
        run = _waiting(ctx).get(params.text("field"))
        done, images = done_of(run) if run is not None else (0, None)
        return SECONDS_AN_IMAGE * ((images or len(ctx.dataset)) - done)

    def form(self, ctx: ExecutionContext, inputs: types.Object, params: Params) -> None:
        """Offer the runs that wait, and say how far they are."""
        runs = _waiting(ctx)
        if not runs:
            inputs.view("none", types.Notice(label=NOTHING.capitalize()))
            block(inputs, "field", NOTHING)
            return
        choose(inputs, "field", list(runs), default=next(iter(runs)), label="Field")
        field = params.one_of("field", runs, next(iter(runs)))
        done, images = done_of(runs[field])
        text = f"{done:,} of {images:,} masks are done" if images else "No mask is done yet"
        inputs.view("done", types.Notice(label=text, description="Its images and settings are used"))

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Label the images that are left, and return the counts."""
        from fiftyone_plugin.dataset.resuming import resume_run

        runs = _waiting(ctx)
        field = params.text("field") or next(iter(runs), "")
        if not field:
            raise UsageError(NOTHING)
        return run_labelling(ctx, field, lambda progress: resume_run(ctx.dataset, field, progress=progress))

    def __call__(self, view: foc.SampleCollection, field: str, *, delegate: bool = False) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(dataset, field)`` with the field that the run fills."""
        return self.call(view, {"field": field}, delegate=delegate)


@once
def _waiting(ctx: ExecutionContext) -> dict[str, RunRecord]:
    return unfinished_runs(ctx.dataset)
