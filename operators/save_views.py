"""Operator ``save_views``: the saved views of a run, for runs that lack them and values that have changed."""

from __future__ import annotations

from typing import ClassVar

import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext

from fiftyone_plugin.dataset.keys import run_key

from .base import Outcome, Result, entry
from .forms.edits import EditOperator, chosen_field
from .params import Params
from .running import read_again

__all__ = ["SaveViews"]


class SaveViews(EditOperator):
    """Replaces the saved views of a run by ones with today's thresholds.

    Views of the run's fields, with thresholds from the values that are there now
    """

    listed = entry(
        "Save views of pseudo-masks to review, accept, and with rare classes",
        "bookmarks",
        allow_delegated_execution=False,
        execute_as_generator=False,
    )
    title, done = "Save views of pseudo-masks", "Views saved"
    shown: ClassVar[dict[str, str]] = {"field": "Masks", "views": "Saved views"}

    def result(self, ctx: ExecutionContext, params: Params) -> Result:
        """Save the views."""
        from fiftyone_plugin.dataset.labelling import create_views

        field = chosen_field(ctx, params)
        names = create_views(ctx.dataset, run_key(field))
        if not ctx.delegated:
            read_again(ctx)
        return {"field": field, "views": ", ".join(names.values())}

    def __call__(self, samples: foc.SampleCollection, field: str) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(dataset, field)`` with the field of a finished run."""
        return self.call(samples, {"field": field})
