"""Operator ``propagate_corrections``: all masks of a run follow the corrections made in a few of them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ClassVar

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.images.listing import all_samples

from .forms.edits import SECONDS_AN_IMAGE, EditOperator, chosen_field, required_field, run_edit
from .forms.fields import refuse, show_name
from .params import Params

__all__ = ["PropagateCorrections"]

LABEL = "Corrections propagated"
MARGIN = 0.1
HELP = (
    "Corrections are what 'Put edited detections back into pseudo-masks' has changed. Regions elsewhere that "
    "look clearly more like a corrected one than like their own class follow it. Nothing is trained, and it "
    "can be taken back."
)


class PropagateCorrections(EditOperator):
    """Thin shell around :func:`fiftyone_plugin.dataset.editing.propagate_corrections`."""

    listed: ClassVar[dict[str, Any]] = {
        "name": "propagate_corrections",
        "label": "Propagate corrections of pseudo-masks",
        "description": "Let all masks of a run follow the corrections made in a few of them",
        "icon": "auto_fix_high",
        "risk_level": RiskLevel.MEDIUM,
    }

    title = "Propagate corrections"
    help = HELP
    done = LABEL

    def seconds(self, ctx: Any, params: Params) -> float:
        """Grows with the images that have masks."""
        field = chosen_field(ctx, params)
        return SECONDS_AN_IMAGE * all_samples(ctx.dataset).count(field) if field else 0.0

    def add_inputs(self, ctx: Any, inputs: Any, params: Params, field: str) -> None:
        """Add the margin; without corrections, say how to make some."""
        inputs.float(
            "margin",
            default=MARGIN,
            min=0,
            max=2,
            required=True,
            label="Margin",
            description="How much more similar (cosine) a region must be to a corrected one than to its "
            "own class; larger moves fewer regions",
        )
        params.number("margin", MARGIN, 0.0, 2.0)
        _check_corrected(ctx, inputs, field)

    def steps(self, ctx: Any, params: Params) -> Generator[Any, None, dict[str, Any]]:
        """Propagate, and return what moved."""
        from fiftyone_plugin.dataset.editing import propagate_corrections

        field, margin = required_field(ctx, params), params.number("margin", MARGIN, 0.0, 2.0)

        def work(progress: Any) -> Any:
            return propagate_corrections(ctx.dataset, field, margin=margin, progress=progress)

        def summarize(done: Any) -> dict[str, Any]:
            names, counts = done.edit.after.all, done.edit.summary
            moves = [
                f"{show_name(str(names.get(a, a)))} to {show_name(str(names.get(b, b)))}: {n}"
                for a, b, n in counts["moves"]
            ]
            return {
                "field": field,
                "corrected_images": done.edit.settings["corrected_images"],
                "masks_changed": done.changed,
                "regions_moved": counts["regions"],
                "moves": "; ".join(moves) or "none",
            }

        return (yield from run_edit(ctx, work, summarize, LABEL))

    def __call__(self, samples: Any, field: str, *, margin: float = MARGIN) -> Any:
        """Run from Python: ``foo.get_operator(uri)(dataset, field)``.

        Args:
            samples: dataset or view; corrections belong to the whole dataset.
            field: mask field of a finished run.
            margin: by how much a region must be more similar to a corrected one than to its class.

        Returns:
            FiftyOne's execution result.
        """
        params = {"field": field, "margin": margin}
        return foo.execute_operator(self.uri, {"view": samples.view()}, params=params)


def _check_corrected(ctx: Any, inputs: Any, field: str) -> None:
    from fiftyone_plugin.dataset.editing import list_edits

    edits = [edit for edit in list_edits(ctx.dataset, field) if edit.kind == "detections"]
    masks = sum(edit.summary.get("masks", 0) for edit in edits if edit.status == "done")
    if masks:
        inputs.view("corrected", types.Notice(label=f"Corrected masks: {masks}"))
        return
    text = "nothing was corrected yet: 'Edit pseudo-masks as detections', correct a few, and put them back"
    inputs.view("corrected", types.Error(label=text))
    refuse(inputs, "field", text)
