"""Operator ``propagate_corrections``: all masks of a run follow the corrections made in a few of them."""

from __future__ import annotations

import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.dataset.editing.history import list_edits
from fiftyone_plugin.images.listing import all_samples

from .base import Messages, Outcome, entry
from .forms.edits import SECONDS_AN_IMAGE, EditOperator, chosen_field
from .forms.fields import refuse, show_name
from .params import Params

__all__ = ["PropagateCorrections"]

MARGIN = 0.1
NOTHING = "nothing was corrected yet: 'Edit pseudo-masks as detections', correct a few, and put them back"


class PropagateCorrections(EditOperator):
    """Let all masks of a run follow the corrections made in a few of them.

    Corrections are what 'Put edited detections back into pseudo-masks' has changed. Regions elsewhere
    that look clearly more like a corrected one than like their own class follow it. Nothing is trained,
    and it can be taken back.
    """

    listed = entry("Propagate corrections of pseudo-masks", "auto_fix_high", risk_level=RiskLevel.MEDIUM)
    title, done = "Propagate corrections", "Corrections propagated"

    def seconds(self, ctx: ExecutionContext, params: Params) -> float:
        """Grows with the images that have masks."""
        return SECONDS_AN_IMAGE * all_samples(ctx.dataset).count(chosen_field(ctx, params))

    def add_inputs(self, ctx: ExecutionContext, inputs: types.Object, params: Params, field: str) -> None:
        """Add the margin; without corrections, say how to make some."""
        text = (
            "How much more similar (cosine) a region must be to a corrected one than to its own class; "
            "larger moves fewer regions"
        )
        inputs.float("margin", default=MARGIN, min=0, max=2, label="Margin", description=text)
        params.number("margin", MARGIN, 0.0, 2.0)
        edits = [edit for edit in list_edits(ctx.dataset, field) if edit.kind == "detections"]
        masks = sum(edit.summary.get("masks", 0) for edit in edits if edit.status == "done")
        if masks:
            inputs.view("corrected", types.Notice(label=f"Corrected masks: {masks}"))
            return
        inputs.view("corrected", types.Error(label=NOTHING))
        refuse(inputs, "field", NOTHING)

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Propagate, and return what moved."""
        from fiftyone_plugin.dataset.editing import propagate_corrections

        field, margin = chosen_field(ctx, params), params.number("margin", MARGIN, 0.0, 2.0)
        done = yield from self.run(
            ctx, lambda progress: propagate_corrections(ctx.dataset, field, margin=margin, progress=progress)
        )
        names, counts = done.edit.after.all, done.edit.summary
        moves = [
            f"{show_name(str(names.get(a, a)))} to {show_name(str(names.get(b, b)))}: {n}"
            for a, b, n in counts["moves"]
        ]
        summary = {
            "field": field,
            "corrected_images": done.edit.settings["corrected_images"],
            "masks_changed": done.changed,
            "regions_moved": counts["regions"],
            "moves": "; ".join(moves) or "none",
        }
        return (yield from self.end_edit(ctx, summary))

    def __call__(self, samples: foc.SampleCollection, field: str, *, margin: float = MARGIN) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(dataset, field)``, on the whole dataset.

        By the margin, a region must be more similar to a corrected one than to its class.
        """
        return self.call(samples, {"field": field, "margin": margin})
