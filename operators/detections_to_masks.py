"""Operator ``detections_to_masks``: edited detections back into the masks that they were made from."""

from __future__ import annotations

import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types
from fiftyone.operators.operator import RiskLevel

from .base import Messages, Outcome, entry
from .forms.edits import EditOperator, chosen_field, detections_made
from .forms.fields import refuse, show_name
from .params import Params

__all__ = ["DetectionsToMasks"]

SECONDS_AN_IMAGE = 0.05
LISTED = 5


class DetectionsToMasks(EditOperator):
    """Take what was corrected in detections over into the masks that they were made from.

    Detections that nobody touched change nothing, not one pixel. A label that is no class yet makes a
    new class; pixels of a deleted detection become unlabelled. The masks before are kept.
    """

    listed = entry("Put edited detections back into pseudo-masks", "save_as", risk_level=RiskLevel.MEDIUM)
    title, done = "Put edited detections back", "Detections put back"

    def seconds(self, ctx: ExecutionContext, params: Params) -> float:
        """Grows with the images that have detections."""
        into = _chosen_detections(ctx, params, chosen_field(ctx, params))
        return SECONDS_AN_IMAGE * len(ctx.dataset.exists(into)) if into else 0.0

    def add_inputs(self, ctx: ExecutionContext, inputs: types.Object, params: Params, field: str) -> None:
        """Add the choice of detections."""
        made = detections_made(ctx, field)
        if made:
            inputs.enum(_into(field), made, default=made[-1], label="Detections", view=types.DropdownView())
            _chosen_detections(ctx, params, field)
        else:
            text = f"no detections were made from {field!r}: use 'Edit pseudo-masks as detections' first"
            inputs.view("none", types.Error(label=text))
            refuse(inputs, "field", text)

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Put back, and return the counts."""
        from fiftyone_plugin.dataset.editing import detections_to_masks

        field = chosen_field(ctx, params)
        into = _chosen_detections(ctx, params, field)
        done = yield from self.run(
            ctx, lambda progress: detections_to_masks(ctx.dataset, field, into, progress=progress)
        )
        skipped = done.edit.summary["skipped"]
        summary = {"field": field, "masks_changed": done.changed, "images_skipped": len(skipped)}
        reasons = "; ".join(f"{id_}: {why}" for id_, why in list(skipped.items())[:LISTED])
        new = ", ".join(map(show_name, done.edit.summary["new_classes"]))
        more = {"new_classes": new, "why_images_were_skipped": reasons}
        summary |= {name: text for name, text in more.items() if text}
        return (yield from self.end_edit(ctx, summary))

    def __call__(self, samples: foc.SampleCollection, field: str, into: str | None = None) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(dataset, field)``.

        All samples with detections are put back; these are in the field that was made last if not given.
        """
        return self.call(samples, {"field": field, **({_into(field): into} if into else {})})


def _into(field: str) -> str:
    """Return the name of the input for the detections; another choice of masks must not inherit it."""
    return f"{field}__detections"


def _chosen_detections(ctx: ExecutionContext, params: Params, field: str) -> str | None:
    """Return the field of detections that the form has, else the newest; ``None`` if none was made."""
    made = detections_made(ctx, field)
    return params.one_of(_into(field), made, made[-1]) if made else None
