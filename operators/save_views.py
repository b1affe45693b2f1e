"""Operator ``save_views``: the saved views of a run, for runs that lack them and values that have changed."""

from __future__ import annotations

from typing import Any, ClassVar

import fiftyone.operators as foo
from fiftyone.operators import types

from fiftyone_plugin.dataset.keys import run_key

from .forms.edits import EditOperator, required_field
from .params import Params

__all__ = ["SaveViews"]


class SaveViews(EditOperator):
    """Thin shell around :func:`fiftyone_plugin.dataset.labelling.create_views`."""

    listed: ClassVar[dict[str, Any]] = {
        "name": "save_views",
        "label": "Save views of pseudo-masks to review, accept, and with rare classes",
        "description": "Replaces the saved views of a run by ones with today's thresholds",
        "icon": "bookmarks",
        "allow_delegated_execution": False,
        "execute_as_generator": False,
    }

    title = "Save views of pseudo-masks"
    help = "Views of the run's fields, with thresholds from the values that are there now"

    def result(self, ctx: Any, params: Params) -> dict[str, Any]:
        """Save the views."""
        from fiftyone_plugin.dataset.labelling import create_views

        field = required_field(ctx, params)
        names = create_views(ctx.dataset, run_key(field))
        if not ctx.delegated:
            ctx.ops.reload_dataset()
        return {"field": field, "views": ", ".join(names.values())}

    def outputs(self, results: dict[str, Any]) -> Any:
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
