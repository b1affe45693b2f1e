"""Operator ``suggest_images``: which images to label next, as a saved view."""

from __future__ import annotations

from typing import ClassVar

import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from .base import Messages, Outcome, entry
from .forms.edits import EditOperator, chosen_field
from .forms.fields import choose
from .forms.lesson import NOTHING_YET, label_fields
from .params import Params

__all__ = ["SuggestImages"]

COUNT, MOST = 5, 1000


class SuggestImages(EditOperator):
    """Shows the images whose labels would teach most.

    They stand for many others, are unlike each other, and are those of which a taught model is unsure.
    """

    listed = entry("Suggest images to label next", "tips_and_updates")
    title, done = "Which images to label next", "Images to label next"
    submit = "Suggest"
    apart = False  # why these images is more than a toast holds; nothing is drawn anew
    shown: ClassVar[dict[str, str]] = {"view": "Saved view", "images": "Images", "reasons": "Why"}

    def add_inputs(self, ctx: ExecutionContext, inputs: types.Object, params: Params, field: str) -> None:
        """Add the number of images, and the field of those that are labelled."""
        inputs.int("count", default=COUNT, min=1, max=MOST, label="Images")
        params.whole("count", COUNT, 1, MOST)
        fields = label_fields(ctx)
        if fields:
            text = "Images that have labels there are not suggested"
            choose(inputs, "labels", fields, label="Labels so far", default=NOTHING_YET, description=text)
            params.one_of("labels", fields, NOTHING_YET)

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Choose the images, save their view and show it."""
        from fiftyone_plugin.dataset.suggesting import suggest_samples

        field, count = chosen_field(ctx, params), params.whole("count", COUNT, 1, MOST)
        labels = params.one_of("labels", label_fields(ctx) or [NOTHING_YET], NOTHING_YET)
        found = yield from self.run(
            ctx,
            lambda progress: suggest_samples(
                ctx.dataset, field, count, labels=None if labels == NOTHING_YET else labels, progress=progress
            ),
        )
        reasons = [f"{each.image}: {each.reason}" for each in found.suggestions.values()]
        summary = {"view": found.view, "images": len(found.suggestions), "reasons": "; ".join(reasons)}
        if not ctx.delegated:
            # by its stages: the App does not know the new name before the dataset is loaded anew, which would
            # in turn forget the view
            yield ctx.ops.set_view(ctx.dataset.load_saved_view(found.view))
            yield self.tell(ctx, summary)
        return summary

    def __call__(
        self, samples: foc.SampleCollection, field: str, count: int = COUNT, labels: str | None = None
    ) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(dataset, field, 5)``, ``labels`` being those so far."""
        return self.call(samples, {"field": field, "count": count, "labels": labels or NOTHING_YET})
