"""Operator ``propagate_corrections``: all masks of a run follow the corrections made in a few of them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from .edit_forms import SECONDS_AN_IMAGE, add_masks, chosen_field, run_edit, show_counts
from .progress import execution_options, stream_or_run

__all__ = ["PropagateCorrections"]

LABEL = "Corrections propagated"
MARGIN = 0.1
HELP = (
    "Corrections are what 'Put edited detections back into pseudo-masks' has changed. Regions elsewhere that "
    "look clearly more like a corrected one than like their own class follow it. Nothing is trained, and it "
    "can be taken back."
)


class PropagateCorrections(foo.Operator):
    """Thin shell around :func:`fiftyone_plugin.editing.propagate_corrections`."""

    @property
    def config(self) -> Any:
        """How the App shows and runs the operator."""
        return foo.OperatorConfig(
            name="propagate_corrections",
            label="Propagate corrections of pseudo-masks",
            description="Let all masks of a run follow the corrections made in a few of them",
            icon="auto_fix_high",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=RiskLevel.MEDIUM,
        )

    def resolve_execution_options(self, ctx: Any) -> Any:
        """Offer delegation first where there are many images."""
        field = chosen_field(ctx)
        return execution_options(SECONDS_AN_IMAGE * (ctx.dataset.count(field) if field else 0))

    def resolve_input(self, ctx: Any) -> Any:
        """Build the form: masks and margin; without corrections, say how to make some."""
        inputs = types.Object()
        field = add_masks(ctx, inputs, HELP)
        if field:
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
            _check_corrected(ctx, inputs, field)
        return types.Property(inputs, view=types.View(label="Propagate corrections"))

    def execute(self, ctx: Any) -> Any:
        """Propagate: a stream of progress for the App, or the summary of a delegated run."""
        return stream_or_run(ctx, self._steps(ctx))

    def _steps(self, ctx: Any) -> Generator[Any, None, dict[str, Any]]:
        from fiftyone_plugin.editing import propagate_corrections

        params, field = ctx.params, chosen_field(ctx) or ""
        margin = params.get("margin")

        def work(progress: Any) -> Any:
            return propagate_corrections(
                ctx.dataset, field, margin=MARGIN if margin is None else float(margin), progress=progress
            )

        def summarize(done: Any) -> dict[str, Any]:
            names, counts = done.edit.after.all, done.edit.summary
            moves = [f"{names.get(a, a)} to {names.get(b, b)}: {n}" for a, b, n in counts["moves"]]
            return {
                "field": field,
                "corrected_images": done.edit.settings["corrected_images"],
                "masks_changed": done.changed,
                "regions_moved": counts["regions"],
                "moves": "; ".join(moves) or "none",
            }

        return (yield from run_edit(ctx, work, summarize, LABEL))

    def resolve_output(self, ctx: Any) -> Any:
        """Show what moved."""
        return show_counts(ctx.results or {}, LABEL)

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
    from fiftyone_plugin.editing import list_edits

    edits = [edit for edit in list_edits(ctx.dataset, field) if edit.kind == "detections"]
    masks = sum(edit.summary.get("masks", 0) for edit in edits if edit.status == "done")
    if masks:
        inputs.view("corrected", types.Notice(label=f"Corrected masks: {masks}"))
        return
    text = "nothing was corrected yet: 'Edit pseudo-masks as detections', correct a few, and put them back"
    inputs.view("corrected", types.Error(label=text))
    inputs.properties["field"].invalid, inputs.properties["field"].error_message = True, text
