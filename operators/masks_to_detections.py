"""Operator ``masks_to_detections``: regions of masks as Detections, which the App can edit."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ClassVar

import fiftyone.operators as foo

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.images.listing import all_samples

from .base import target_view
from .forms.edits import EditOperator, detections_made, required_field, run_edit
from .forms.fields import refuse
from .params import Params

__all__ = ["MasksToDetections"]

LABEL = "Regions as detections"
MIN_AREA = 64
MAX_AREA = 10**9
HELP = (
    "Every connected region of these masks becomes a detection with an instance mask. In annotation mode, "
    "change outlines and labels, delete detections or draw new ones; then 'Put edited detections back into "
    "pseudo-masks'."
)
SECONDS_AN_IMAGE = 0.05


class MasksToDetections(EditOperator):
    """Thin shell around :func:`fiftyone_plugin.dataset.editing.masks_to_detections`."""

    listed: ClassVar[dict[str, Any]] = {
        "name": "masks_to_detections",
        "label": "Edit pseudo-masks as detections",
        "description": "Write the regions of masks as detections with instance masks, to correct them here",
        "icon": "edit",
    }

    title = "Edit pseudo-masks as detections"
    help = HELP
    done = LABEL

    def seconds(self, ctx: Any, params: Params) -> float:
        """Grows with the images."""
        return SECONDS_AN_IMAGE * len(all_samples(target_view(ctx)))

    def add_inputs(self, ctx: Any, inputs: Any, params: Params, field: str) -> None:
        """Add samples, the new field, the smallest region."""
        inputs.view_target(ctx, action_description="Convert")
        inputs.str(
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
        name = params.field(_into(field), f"{field}_detections")
        params.whole("min_area", MIN_AREA, 1, MAX_AREA)
        if not ctx.dataset.has_sample_field(name):
            return
        if name not in detections_made(ctx.dataset, field):
            refuse(inputs, _into(field), f"{name!r} was not made from {field!r}: choose another name")
            return
        inputs.bool(
            "overwrite", default=False, label="Overwrite", description="Replace detections made earlier"
        )
        if not params.flag("overwrite"):
            refuse(inputs, _into(field), f"{name!r} exists: choose another name, or Overwrite")

    def steps(self, ctx: Any, params: Params) -> Generator[Any, None, dict[str, Any]]:
        """Convert, and return the counts."""
        from fiftyone_plugin.dataset.editing import masks_to_detections

        field, view = required_field(ctx, params), all_samples(target_view(ctx))
        into = params.field(_into(field), f"{field}_detections")
        min_area, overwrite = params.whole("min_area", MIN_AREA, 1, MAX_AREA), params.flag("overwrite")
        if ctx.dataset.has_sample_field(into) and into not in detections_made(ctx.dataset, field):
            raise UsageError(f"field {into!r} was not made from {field!r}: choose another name")

        def work(progress: Any) -> Any:
            return masks_to_detections(
                view, field, into, min_area=min_area, overwrite=overwrite, progress=progress
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
