"""Operator ``masks_to_detections``: regions of masks as Detections, which the App can edit."""

from __future__ import annotations

import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.dataset.record import RunFields
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.images.listing import all_samples

from .base import Messages, Outcome, entry, target_view
from .forms.edits import EditOperator, chosen_field, detections_made
from .forms.fields import ask_overwrite, refuse
from .params import Params

__all__ = ["MasksToDetections"]

MIN_AREA = 64
MAX_AREA = 10**9
SECONDS_AN_IMAGE = 0.05


class MasksToDetections(EditOperator):
    """Write the regions of masks as detections with instance masks, to correct them here.

    Every connected region of these masks becomes a detection with an instance mask. In annotation mode,
    change outlines and labels, delete detections or draw new ones; then 'Put edited detections back
    into pseudo-masks'.
    """

    listed = entry("Edit pseudo-masks as detections", "edit")
    title, done = "Edit pseudo-masks as detections", "Regions as detections"

    def seconds(self, ctx: ExecutionContext, params: Params) -> float:
        """Grows with the images."""
        return SECONDS_AN_IMAGE * len(all_samples(target_view(ctx)))

    def add_inputs(self, ctx: ExecutionContext, inputs: types.Object, params: Params, field: str) -> None:
        """Add samples, the new field, the smallest region."""
        inputs.view_target(ctx, action_description="Convert")
        default, key = RunFields(field).detections, _into(field)
        inputs.str(key, default=default, label="Field of the detections")
        text = "Smaller ones stay in the masks as they are"
        inputs.int("min_area", default=MIN_AREA, min=1, label="Smallest region, pixels", description=text)
        name = params.field(key, default)
        params.whole("min_area", MIN_AREA, 1, MAX_AREA)
        if not ctx.dataset.has_sample_field(name):
            return
        if name not in detections_made(ctx, field):
            refuse(inputs, key, f"{name!r} was not made from {field!r}: choose another name")
            return
        text = f"{name!r} exists: choose another name, or Overwrite"
        ask_overwrite(inputs, params, key, text, "Replace detections made earlier")

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Convert, and return the counts."""
        from fiftyone_plugin.dataset.editing import masks_to_detections

        field, view = chosen_field(ctx, params), all_samples(target_view(ctx))
        into = params.field(_into(field), RunFields(field).detections)
        min_area, overwrite = params.whole("min_area", MIN_AREA, 1, MAX_AREA), params.flag("overwrite")
        if ctx.dataset.has_sample_field(into) and into not in detections_made(ctx, field):
            raise UsageError(f"field {into!r} was not made from {field!r}: choose another name")
        done = yield from self.run(
            ctx,
            lambda progress: masks_to_detections(
                view, field, into, min_area=min_area, overwrite=overwrite, progress=progress
            ),
        )
        summary = {
            "field": done.field,
            "images": done.samples,
            "detections": done.detections,
            "masks_not_read": len(done.unread),
        }
        return (yield from self.end_edit(ctx, summary, into))

    def __call__(
        self,
        samples: foc.SampleCollection,
        field: str,
        into: str | None = None,
        *,
        min_area: int = MIN_AREA,
        overwrite: bool = False,
    ) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(view, field)`` with a view of the samples to correct.

        Regions have ``min_area`` pixels or more; the detections go to ``<field>_detections`` if not given.
        """
        params = {"field": field, _into(field): into or RunFields(field).detections}
        return self.call(samples, params | {"min_area": min_area, "overwrite": overwrite})


def _into(field: str) -> str:
    """Return the name of the input for the new field; another choice of masks must not inherit its text."""
    return f"{field}__into"
