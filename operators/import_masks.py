"""Operator ``import_masks``: masks or COCO files of other tools as a field."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from .progress import run_with_progress, stream_or_run

__all__ = ["ImportMasks"]

DEFAULT_FIELD = "imported_mask"
LISTED = 5


class ImportMasks(foo.Operator):
    """Thin shell around :func:`fiftyone_plugin.import_masks`."""

    @property
    def config(self) -> Any:
        """How the App shows and runs the operator."""
        return foo.OperatorConfig(
            name="import_masks",
            label="Import masks",
            description="Read masks or a COCO file, e.g. corrected by another tool, into a field",
            icon="file_upload",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=RiskLevel.MEDIUM,
        )

    def resolve_input(self, ctx: Any) -> Any:
        """Build the form."""
        inputs = types.Object()
        source = inputs.str(
            "source",
            required=True,
            label="Source",
            description="On the server: a COCO file, a VOC folder, or a folder of masks",
        )
        field = inputs.str(
            "field",
            default=DEFAULT_FIELD,
            required=True,
            label="Field",
            description="Where the masks go; masks and images match by name",
        )
        inputs.bool(
            "overwrite", default=False, label="Overwrite", description="Write into a field that exists"
        )
        named = ctx.params.get("source")
        if named and not Path(named).exists():
            source.invalid, source.error_message = True, "there is no such file or folder"
        name = ctx.params.get("field") or DEFAULT_FIELD
        if ctx.dataset and ctx.dataset.has_sample_field(name) and not ctx.params.get("overwrite"):
            field.invalid, field.error_message = True, f"{name!r} exists: choose another name, or Overwrite"
        return types.Property(inputs, view=types.View(label="Import masks"))

    def execute(self, ctx: Any) -> Any:
        """Import: a stream of progress for the App, or the summary of a delegated run."""
        return stream_or_run(ctx, self._steps(ctx))

    def _steps(self, ctx: Any) -> Generator[Any, None, dict[str, Any]]:
        from fiftyone_plugin.export import import_masks

        params, view = ctx.params, ctx.view

        def work(progress: Any) -> Any:
            return import_masks(
                view,
                params["source"],
                params.get("field") or DEFAULT_FIELD,
                overwrite=bool(params.get("overwrite")),
                progress=progress,
            )

        result = yield from run_with_progress(ctx, work)
        summary = {
            "matched": result.matched,
            "skipped": len(result.skipped),
            "reasons": "; ".join(f"{entry.key}: {entry.reason}" for entry in result.skipped[:LISTED]),
            "folder": str(result.out),
        }
        if not ctx.delegated:
            yield ctx.ops.reload_dataset()
            yield ctx.ops.show_output(_outputs(summary).to_json(), summary)
        return summary

    def resolve_output(self, ctx: Any) -> Any:
        """Show what was read."""
        return _outputs(ctx.results or {})

    def __call__(self, view: Any, source: str, field: str = DEFAULT_FIELD, *, overwrite: bool = False) -> Any:
        """Run from Python: ``foo.get_operator(uri)(view, ...)``.

        Args:
            view: dataset or view of images.
            source: COCO file, VOC folder or folder of masks.
            field: field to write.
            overwrite: write into a field that exists.

        Returns:
            FiftyOne's execution result.
        """
        params = {"source": str(source), "field": field, "overwrite": overwrite}
        return foo.execute_operator(self.uri, {"view": view.view()}, params=params)


def _outputs(summary: dict[str, Any]) -> Any:
    outputs = types.Object()
    outputs.int("matched", label="Samples with a mask")
    outputs.int("skipped", label="Masks left out")
    if summary.get("reasons"):
        outputs.str("reasons", label="Why masks were left out")
    outputs.str("folder", label="Masks")
    return types.Property(outputs, view=types.View(label="Import of masks"))
