"""Operator ``detections_to_masks``: edited detections back into the masks that they were made from."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.run_keys import run_key

from .edit_forms import add_masks, chosen_field, run_edit, show_counts
from .progress import execution_options, stream_or_run

__all__ = ["DetectionsToMasks"]

LABEL = "Detections put back"
HELP = (
    "Detections that nobody touched change nothing, not one pixel. A label that is no class yet makes a new "
    "class; pixels of a deleted detection become unlabelled. The masks before are kept."
)
SECONDS_AN_IMAGE = 0.05
LISTED = 5


class DetectionsToMasks(foo.Operator):
    """Thin shell around :func:`fiftyone_plugin.editing.detections_to_masks`."""

    @property
    def config(self) -> Any:
        """How the App shows and runs the operator."""
        return foo.OperatorConfig(
            name="detections_to_masks",
            label="Put edited detections back into pseudo-masks",
            description="Take what was corrected in detections over into the masks that they were made from",
            icon="save_as",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=RiskLevel.MEDIUM,
        )

    def resolve_execution_options(self, ctx: Any) -> Any:
        """Offer delegation first where there are many images."""
        field = chosen_field(ctx)
        into = (ctx.params.get(_into(field)) or next(iter(_converted(ctx, field)), None)) if field else None
        images = len(ctx.dataset.exists(into)) if into in (_converted(ctx, field) if field else []) else 0
        return execution_options(SECONDS_AN_IMAGE * images)

    def resolve_input(self, ctx: Any) -> Any:
        """Build the form: masks, and the field of detections."""
        inputs = types.Object()
        field = add_masks(ctx, inputs, HELP)
        if field:
            made = _converted(ctx, field)
            if made:
                inputs.enum(
                    _into(field), made, default=made[-1], label="Detections", view=types.DropdownView()
                )
            else:
                text = f"no detections were made from {field!r}: use 'Edit pseudo-masks as detections' first"
                inputs.view("none", types.Error(label=text))
                inputs.properties["field"].invalid = True
                inputs.properties["field"].error_message = text
        return types.Property(inputs, view=types.View(label="Put edited detections back"))

    def execute(self, ctx: Any) -> Any:
        """Put back: a stream of progress for the App, or the summary of a delegated run."""
        return stream_or_run(ctx, self._steps(ctx))

    def _steps(self, ctx: Any) -> Generator[Any, None, dict[str, Any]]:
        from fiftyone_plugin.editing import detections_to_masks

        field = chosen_field(ctx) or ""
        into = ctx.params.get(_into(field)) or None

        def work(progress: Any) -> Any:
            return detections_to_masks(ctx.dataset, field, into, progress=progress)

        def summarize(done: Any) -> dict[str, Any]:
            skipped = done.edit.summary["skipped"]
            summary = {"field": field, "masks_changed": done.changed, "images_skipped": len(skipped)}
            reasons = "; ".join(f"{id_}: {why}" for id_, why in list(skipped.items())[:LISTED])
            new = ", ".join(done.edit.summary["new_classes"])
            more = {"new_classes": new, "why_images_were_skipped": reasons}
            return {**summary, **{name: text for name, text in more.items() if text}}

        return (yield from run_edit(ctx, work, summarize, LABEL))

    def resolve_output(self, ctx: Any) -> Any:
        """Show the counts."""
        return show_counts(ctx.results or {}, LABEL)

    def __call__(self, samples: Any, field: str, into: str | None = None) -> Any:
        """Run from Python: ``foo.get_operator(uri)(dataset, field)``.

        Args:
            samples: dataset or view; all samples with detections are put back.
            field: mask field of a finished run.
            into: field of the detections; ``None`` for ``<field>_detections``.

        Returns:
            FiftyOne's execution result.
        """
        params = {"field": field, **({_into(field): into} if into else {})}
        return foo.execute_operator(self.uri, {"view": samples.view()}, params=params)


def _into(field: str) -> str:
    """Return the name of the input for the detections; another choice of masks must not inherit it."""
    return f"{field}__detections"


def _converted(ctx: Any, field: str) -> list[str]:
    """Return the fields of detections that were made from a mask field, oldest first."""
    config = ctx.dataset.get_run_info(run_key(field)).config
    made = getattr(config, "detections", None) or {}
    return [name for name in made if ctx.dataset.has_sample_field(name)]
