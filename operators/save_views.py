"""Operator ``save_views``: the saved views of a run, for runs that lack them and values that have changed."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.app_summary import finished_fields
from fiftyone_plugin.run_keys import run_key

from .forms import block, choose

__all__ = ["SaveViews"]

NOTHING = "no finished run of pseudo-masks in this dataset: label it first"


class SaveViews(foo.Operator):
    """Thin shell around :func:`fiftyone_plugin.saved_views.create_views`."""

    @property
    def config(self) -> Any:
        """How the App shows and runs the operator."""
        return foo.OperatorConfig(
            name="save_views",
            label="Save views of pseudo-masks to review, accept, and with rare classes",
            description="Replaces the saved views of a run by ones with today's thresholds",
            icon="bookmarks",
            dynamic=True,
            risk_level=RiskLevel.LOW,
        )

    def resolve_input(self, ctx: Any) -> Any:
        """Build the form: the field."""
        inputs = types.Object()
        form = types.Property(inputs, view=types.View(label="Save views of pseudo-masks"))
        fields = finished_fields(ctx.dataset)
        if not fields:
            inputs.view("nothing", types.Error(label=NOTHING))
            block(inputs, "field", NOTHING)
            return form
        choose(inputs, "field", fields, default=fields[0], label="Masks")
        return form

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Save the views."""
        from fiftyone_plugin.errors import UsageError
        from fiftyone_plugin.saved_views import create_views

        field = ctx.params.get("field") or next(iter(finished_fields(ctx.dataset)), None)
        if field is None:
            raise UsageError(NOTHING)
        names = create_views(ctx.dataset, run_key(field))
        if not ctx.delegated:
            ctx.ops.reload_dataset()
        return {"field": field, "views": ", ".join(names.values())}

    def resolve_output(self, ctx: Any) -> Any:
        """Show the names."""
        outputs = types.Object()
        outputs.str("field", label="Masks")
        outputs.str("views", label="Saved views")
        return types.Property(outputs, view=types.View(label="Views saved"))

    def __call__(self, samples: Any, field: str) -> Any:
        """Run from Python: ``foo.get_operator(uri)(dataset, "pseudomask")``.

        Args:
            samples: dataset or view.
            field: mask field of a finished run.

        Returns:
            FiftyOne's execution result.
        """
        return foo.execute_operator(self.uri, {"view": samples.view()}, params={"field": field})
