"""Operator ``masks_to_detections``: regions of masks as Detections, which the App can edit."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from .edit_forms import add_masks, chosen_field, run_edit, show_counts
from .progress import execution_options, stream_or_run

__all__ = ["MasksToDetections"]

LABEL = "Regions as detections"
MIN_AREA = 64
HELP = (
    "Every connected region of these masks becomes a detection with an instance mask. In annotation mode, "
    "change outlines and labels, delete detections or draw new ones; then 'Put edited detections back into "
    "pseudo-masks'."
)
SECONDS_AN_IMAGE = 0.05


class MasksToDetections(foo.Operator):
    """Thin shell around :func:`fiftyone_plugin.editing.masks_to_detections`."""

    @property
    def config(self) -> Any:
        """How the App shows and runs the operator."""
        return foo.OperatorConfig(
            name="masks_to_detections",
            label="Edit pseudo-masks as detections",
            description="Write the regions of masks as detections with instance masks, to correct them here",
            icon="edit",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=RiskLevel.LOW,
        )

    def resolve_execution_options(self, ctx: Any) -> Any:
        """Offer delegation first where there are many images."""
        return execution_options(SECONDS_AN_IMAGE * (len(ctx.target_view()) if ctx.dataset else 0))

    def resolve_input(self, ctx: Any) -> Any:
        """Build the form: masks, samples, the new field, the smallest region."""
        inputs = types.Object()
        field = add_masks(ctx, inputs, HELP)
        if field:
            inputs.view_target(ctx, action_description="Convert")
            into = inputs.str(
                _into(field), default=f"{field}_detections", required=True, label="Field of the detections"
            )
            inputs.int(
                "min_area",
                default=MIN_AREA,
                min=1,
                required=True,
                label="Smallest region, pixels",
                description="Smaller ones stay in the masks as they are",
            )
            inputs.bool(
                "overwrite", default=False, label="Overwrite", description="Replace detections made earlier"
            )
            name = ctx.params.get(_into(field)) or f"{field}_detections"
            if ctx.dataset.has_sample_field(name) and not ctx.params.get("overwrite"):
                into.invalid, into.error_message = True, f"{name!r} exists: choose another name, or Overwrite"
        return types.Property(inputs, view=types.View(label="Edit pseudo-masks as detections"))

    def execute(self, ctx: Any) -> Any:
        """Convert: a stream of progress for the App, or the summary of a delegated run."""
        return stream_or_run(ctx, self._steps(ctx))

    def _steps(self, ctx: Any) -> Generator[Any, None, dict[str, Any]]:
        from fiftyone_plugin.editing import masks_to_detections

        params, field, view = ctx.params, chosen_field(ctx) or "", ctx.target_view()

        def work(progress: Any) -> Any:
            return masks_to_detections(
                view,
                field,
                params.get(_into(field)) or None,
                min_area=int(params.get("min_area") or MIN_AREA),
                overwrite=bool(params.get("overwrite")),
                progress=progress,
            )

        def summarize(done: Any) -> dict[str, Any]:
            return {
                "field": done.field,
                "images": done.samples,
                "detections": done.detections,
                "masks_not_read": len(done.unread),
            }

        summary = yield from run_edit(ctx, work, summarize, LABEL)
        if not ctx.delegated:
            yield ctx.ops.set_active_fields([summary["field"]])
        return summary

    def resolve_output(self, ctx: Any) -> Any:
        """Show the counts."""
        return show_counts(ctx.results or {}, LABEL)

    def __call__(
        self,
        samples: Any,
        field: str,
        into: str | None = None,
        *,
        min_area: int = MIN_AREA,
        overwrite: bool = False,
    ) -> Any:
        """Run from Python: ``foo.get_operator(uri)(view, field)``.

        Args:
            samples: view of the samples to correct.
            field: mask field of a finished run.
            into: field for the detections; ``None`` for ``<field>_detections``.
            min_area: fewest pixels of a region.
            overwrite: replace detections made earlier.

        Returns:
            FiftyOne's execution result.
        """
        into = into or f"{field}_detections"
        params = {"field": field, _into(field): into, "min_area": min_area, "overwrite": overwrite}
        return foo.execute_operator(self.uri, {"view": samples.view()}, params=params)


def _into(field: str) -> str:
    """Return the name of the input for the new field; another choice of masks must not inherit its text."""
    return f"{field}__into"
