"""Operator ``split_class``: one class of a run becomes two or more, by what its regions look like."""

from __future__ import annotations

import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.errors import UsageError

from .base import Messages, Outcome, entry
from .forms.edits import SECONDS_AN_IMAGE, EditOperator, add_class, chosen_class, chosen_field, rows_of
from .params import Params

__all__ = ["SplitClass"]

MAX_PARTS = 26
MAX_SEED = 2**32 - 1


class SplitClass(EditOperator):
    """Cluster the regions of one class anew, into two classes or more.

    The connected regions of the class are clustered anew by what they look like to the backbone. The
    part with the largest area keeps the id, the others get new ones; names become 'NAME a', 'NAME b',
    ... It can be taken back with 'Take back an edit of pseudo-masks'.
    """

    listed = entry("Split a class of pseudo-masks", "call_split", risk_level=RiskLevel.MEDIUM)
    title, done = "Split a class", "Class split"

    def seconds(self, ctx: ExecutionContext, params: Params) -> float:
        """Grows with the images that show the class."""
        field = chosen_field(ctx, params)
        chosen = chosen_class(ctx, params, field)
        return SECONDS_AN_IMAGE * max((r.images for r in rows_of(ctx, field) if chosen in r.ids), default=0)

    def add_inputs(self, ctx: ExecutionContext, inputs: types.Object, params: Params, field: str) -> None:
        """Add class, number of parts and seed."""
        text = "A click on its row in the panel shows the images with the class"
        add_class(ctx, inputs, params, field, text)
        inputs.int("parts", default=2, min=2, max=MAX_PARTS, label="Parts")
        text = "The same seed gives the same parts"
        inputs.int("seed", default=0, min=0, max=MAX_SEED, label="Seed", description=text)
        _numbers(params)

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Split, and return the parts."""
        from fiftyone_plugin.dataset.editing import split_class

        field = chosen_field(ctx, params)
        class_id = chosen_class(ctx, params, field)
        if class_id is None:
            raise UsageError("choose the class to split")
        parts, seed = _numbers(params)
        done = yield from self.run(
            ctx,
            lambda progress: split_class(
                ctx.dataset, field, class_id, n_parts=parts, seed=seed, progress=progress
            ),
        )
        names, regions = done.edit.after.shown, done.edit.summary["regions"]
        made = {names[id_]: regions[str(id_)] for id_ in done.edit.summary["ids"]}
        summary = {
            "field": field,
            "classes": ", ".join(f"{name} ({n} regions)" for name, n in made.items()),
            "masks_changed": done.changed,
            "images_not_read": done.edit.summary["images_not_read"],
        }
        return (yield from self.end_edit(ctx, summary))

    def __call__(
        self, samples: foc.SampleCollection, field: str, class_id: int, *, parts: int = 2, seed: int = 0
    ) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(dataset, field, 3)``, on the whole dataset."""
        return self.call(samples, {"field": field, "class_id": str(class_id), "parts": parts, "seed": seed})


def _numbers(params: Params) -> tuple[int, int]:
    return params.whole("parts", 2, 2, MAX_PARTS), params.whole("seed", 0, 0, MAX_SEED)
