"""Operator ``add_overlay``: masks as outlines, as doubt, or where two differ, in a field of their own."""

from __future__ import annotations

from typing import ClassVar

import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.dataset.overlays import DIFFERENCE, DOUBT, OUTLINES

from .base import Messages, Outcome, entry, images_of, say_images
from .forms.edits import EditOperator, chosen_field
from .forms.fields import choose, describe_left_out, left_out_labels, refuse, segmentation_fields
from .params import Params

__all__ = ["AddOverlay"]

KINDS = {
    OUTLINES: "The borders of the classes alone, in their colours",
    DOUBT: "A heat map of pixels less sure than most: the redder, the less clearly their class won",
    DIFFERENCE: "Where the masks differ from those of another run, or from ground truth",
}


class AddOverlay(EditOperator):
    """Show pseudo-masks as outlines, their doubt, or where they differ from others, in a field of its own.

    The masks stay as they are. The new field shows them as they are now, goes with the run, and can be taken
    away at any time.
    """

    listed = entry("Show pseudo-masks as outlines, doubt or differences", "layers")
    title, done = "See the masks in another way", "Shown"
    submit = "Show"
    seconds_an_image = 0.02
    shown: ClassVar[dict[str, str]] = {"field": "Field", "images": "Images", **left_out_labels("Images")}

    def add_inputs(self, ctx: ExecutionContext, inputs: types.Object, params: Params, field: str) -> None:
        """Add what to show, and what to compare with."""
        say_images(ctx, inputs, "Draws")
        choose(inputs, "kind", list(KINDS), notes=KINDS, default=OUTLINES, label="Show")
        if params.one_of("kind", KINDS, OUTLINES) != DIFFERENCE:
            return
        others = _others(ctx, field)
        if not others:
            refuse(inputs, "kind", "there are no other masks to compare with")
            return
        text = "Of another run, classes are matched one to one; of ground truth, each has its commonest class"
        choose(inputs, "other", others, default=others[0], label="Compare with", description=text)

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Draw, and show what was drawn."""
        from fiftyone_plugin.dataset.overlays import add_overlay

        field, kind = chosen_field(ctx, params), str(params.one_of("kind", KINDS, OUTLINES))
        others = _others(ctx, field)
        other = params.one_of("other", others, others[0] if others else None) if kind == DIFFERENCE else None
        view = images_of(ctx, field)
        made = yield from self.run(ctx, lambda progress: add_overlay(view, field, kind, other, progress))
        summary = {"field": made.name, "images": made.images, **describe_left_out(made.left_out)}
        return (yield from self.end_edit(ctx, summary, made.name))

    def __call__(
        self, samples: foc.SampleCollection, field: str, kind: str = OUTLINES, other: str | None = None
    ) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(dataset, field, "difference", "ground_truth")``.

        The kind is ``outlines``, ``doubt`` or ``difference``: from another Segmentation field.
        """
        return self.call(samples, {"field": field, "kind": kind, **({"other": other} if other else {})})


def _others(ctx: ExecutionContext, field: str) -> list[str]:
    return [name for name in segmentation_fields(ctx.dataset) if name != field]
