"""Operator ``stop_run``: end a run that is at work, in the App or scheduled, and keep what it has done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.errors import UsageError

from .forms import block, choose

__all__ = ["StopRun", "running_fields"]

NOTHING = "no run is at work on this dataset"


class StopRun(foo.Operator):
    """Thin shell around :func:`fiftyone_plugin.stopping.request_stop`."""

    @property
    def config(self) -> Any:
        """How the App shows and runs the operator."""
        return foo.OperatorConfig(
            name="stop_run",
            label="Stop labelling",
            description="End a run of pseudo-masks within one batch; what is done is kept",
            icon="stop_circle",
            dynamic=True,
            risk_level=RiskLevel.LOW,
        )

    def resolve_input(self, ctx: Any) -> Any:
        """Offer the runs that are at work."""
        inputs = types.Object()
        title = types.View(label="Stop labelling", submit_button_label="Stop")
        fields = running_fields(ctx.dataset) if ctx.dataset is not None else []
        if not fields:
            inputs.view("none", types.Notice(label=NOTHING.capitalize()))
            block(inputs, "field", NOTHING)
            return types.Property(inputs, view=title)
        ends = "Its run ends within one batch; label the field again to go on"
        choose(inputs, "field", fields, default=fields[0], required=True, label="Field", description=ends)
        return types.Property(inputs, view=title)

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Ask the run to stop."""
        from fiftyone_plugin.app_summary import list_runs
        from fiftyone_plugin.stopping import request_stop

        field = ctx.params.get("field")
        run = next((run for run in list_runs(ctx.dataset) if run.field == field), None)
        if run is None or not request_stop(Path(run.out)):
            raise UsageError(f"no run is at work on {field!r}")
        return {"field": field}

    def resolve_output(self, ctx: Any) -> Any:
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
    from fiftyone_plugin.app_summary import list_runs
    from fiftyone_plugin.stopping import is_at_work

    return [run.field for run in list_runs(dataset) if run.status != "complete" and is_at_work(Path(run.out))]
