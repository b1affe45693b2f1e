"""Operator ``stop_run``: end a run that is at work, in the App or scheduled, and keep what it has done."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.dataset.resuming import unfinished_runs
from fiftyone_plugin.errors import UsageError

from .base import Outcome, PseudoMaskOperator, Result, entry
from .forms.fields import block, choose
from .params import Params

__all__ = ["StopRun"]

NOTHING = "no run is at work on this dataset"


class StopRun(PseudoMaskOperator):
    """End a run of pseudo-masks within one batch; what is done is kept."""

    listed = entry(
        "Stop labelling", "stop_circle", allow_delegated_execution=False, execute_as_generator=False
    )
    title = done = "Stop labelling"
    submit = "Stop"
    shown: ClassVar[dict[str, str]] = {"field": "Asked to stop within one batch"}

    def form(self, ctx: ExecutionContext, inputs: types.Object, params: Params) -> None:
        """Offer the runs that are at work."""
        fields = list(unfinished_runs(ctx.dataset, at_work=True))
        if not fields:
            inputs.view("none", types.Notice(label=NOTHING.capitalize()))
            block(inputs, "field", NOTHING)
            return
        ends = "Its run ends within one batch; label the field again to go on"
        choose(inputs, "field", fields, default=fields[0], label="Field", description=ends)
        params.one_of("field", fields, fields[0])

    def result(self, ctx: ExecutionContext, params: Params) -> Result:
        """Ask the run to stop."""
        from fiftyone_plugin.runs.stopping import request_stop

        running = unfinished_runs(ctx.dataset, at_work=True)
        field = params.text("field") or next(iter(running), "")
        run = running.get(field)
        if run is None or not request_stop(Path(run.out)):
            raise UsageError(f"no run is at work on {field!r}" if field else NOTHING)
        return {"field": field}

    def __call__(self, view: foc.SampleCollection, field: str) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(view, field)`` with the field that the run fills."""
        return self.call(view, {"field": field})
