"""Operator ``stop_run``: end a run that is at work, in the App or scheduled, and keep what it has done."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import fiftyone.operators as foo
from fiftyone.operators import types

from fiftyone_plugin.errors import UsageError

from .base import PseudoMaskOperator
from .forms.fields import block, choose
from .params import Params

__all__ = ["StopRun", "running_fields"]

NOTHING = "no run is at work on this dataset"


class StopRun(PseudoMaskOperator):
    """Thin shell around :func:`fiftyone_plugin.runs.stopping.request_stop`."""

    listed: ClassVar[dict[str, Any]] = {
        "name": "stop_run",
        "label": "Stop labelling",
        "description": "End a run of pseudo-masks within one batch; what is done is kept",
        "icon": "stop_circle",
        "allow_delegated_execution": False,
        "execute_as_generator": False,
    }

    title = "Stop labelling"
    submit = "Stop"

    def form(self, ctx: Any, inputs: Any, params: Params) -> None:
        """Offer the runs that are at work."""
        fields = running_fields(ctx.dataset)
        if not fields:
            inputs.view("none", types.Notice(label=NOTHING.capitalize()))
            block(inputs, "field", NOTHING)
            return
        ends = "Its run ends within one batch; label the field again to go on"
        choose(inputs, "field", fields, default=fields[0], required=True, label="Field", description=ends)
        params.one_of("field", fields, fields[0])

    def result(self, ctx: Any, params: Params) -> dict[str, Any]:
        """Ask the run to stop."""
        from fiftyone_plugin.dataset.summary import list_runs
        from fiftyone_plugin.runs.stopping import request_stop

        field = params.text("field") or next(iter(running_fields(ctx.dataset)), "")
        run = next((run for run in list_runs(ctx.dataset) if run.field == field), None)
        if run is None or not request_stop(Path(run.out)):
            raise UsageError(f"no run is at work on {field!r}" if field else NOTHING)
        return {"field": field}

    def outputs(self, results: dict[str, Any]) -> Any:
        """Say what was asked."""
        outputs = types.Object()
        outputs.str("field", label="Asked to stop within one batch")
        return types.Property(outputs, view=types.View(label="Stop labelling"))

    def __call__(self, view: Any, field: str) -> Any:
        """Run from Python: ``foo.get_operator(uri)(view, field)``.

        Args:
            view: the dataset, or any view of it.
            field: field that the run fills.

        Returns:
            FiftyOne's execution result.
        """
        return foo.execute_operator(self.uri, {"view": view.view()}, params={"field": field})


def running_fields(dataset: Any) -> list[str]:
    """Return the fields whose runs are at work at this moment, in whatever process."""
    from fiftyone_plugin.dataset.summary import list_runs
    from fiftyone_plugin.runs.stopping import is_at_work

    return [run.field for run in list_runs(dataset) if run.status != "complete" and is_at_work(Path(run.out))]
