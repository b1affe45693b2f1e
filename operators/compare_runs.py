"""Operator ``compare_runs``: how far the masks of two runs agree, and where they differ."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.app_summary import finished_fields

from .forms import block, choose, refuse
from .progress import count_images, execution_options, run_with_progress, stream_or_run

__all__ = ["CompareRuns"]

TOO_FEW = "two finished runs of pseudo-masks are needed: label the images once more, with other settings"
SECONDS_AN_IMAGE = 0.01  # on two cores


class CompareRuns(foo.Operator):
    """Thin shell around :func:`fiftyone_plugin.dataset_comparison.compare_runs`."""

    @property
    def config(self) -> Any:
        """How the App shows and runs the operator."""
        return foo.OperatorConfig(
            name="compare_runs",
            label="Compare two runs of pseudo-masks",
            description="Agreement of the masks of two runs, and a saved view of where they differ",
            icon="compare",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=RiskLevel.LOW,
        )

    def resolve_execution_options(self, ctx: Any) -> Any:
        """Offer delegation first where the comparison would take long."""
        return execution_options(SECONDS_AN_IMAGE * count_images(ctx))

    def resolve_input(self, ctx: Any) -> Any:
        """Build the form: two runs, and the name of the field."""
        inputs = types.Object()
        form = types.Property(inputs, view=types.View(label="Compare two runs"))
        fields = finished_fields(ctx.dataset)
        if len(fields) < 2:
            inputs.view("too_few", types.Error(label=TOO_FEW))
            block(inputs, "a", TOO_FEW)
            return form
        a, b = ctx.params.get("a") or fields[0], ctx.params.get("b") or fields[1]
        matched, those = "Its classes are matched one to one", "with the classes of this run"
        choose(inputs, "a", fields, default=fields[0], label="First run", description=matched)
        choose(inputs, "b", fields, default=fields[1], label="Second run", description=those)
        if a == b:
            refuse(inputs, "b", "this is the first run: choose another one")
        inputs.str(
            "field",
            label="Field",
            description=f"For the share of agreeing pixels of every image; {a}_vs_{b}_agreement if empty",
        )
        return form

    def execute(self, ctx: Any) -> Any:
        """Compare the view: a stream of progress for the App, or the scores of a delegated run."""
        return stream_or_run(ctx, self._steps(ctx))

    def _steps(self, ctx: Any) -> Generator[Any, None, dict[str, Any]]:
        from fiftyone_plugin.dataset_comparison import compare_runs
        from fiftyone_plugin.errors import UsageError

        a, b = (ctx.params.get(name) for name in ("a", "b"))
        if not a or not b:
            fields = finished_fields(ctx.dataset)
            if len(fields) < 2:
                raise UsageError(TOO_FEW)
            a, b = a or fields[0], b or fields[1]
        view, field = ctx.view, ctx.params.get("field") or None
        stored = yield from run_with_progress(
            ctx, lambda progress: compare_runs(view, a, b, field, progress=progress)
        )
        summary = {
            "agreement": f"{stored.agreement:.1%}",
            "ari": round(stored.ari, 3),
            "nmi": round(stored.nmi, 3),
            "images": stored.images,
            "left_out": stored.left_out,
            "field": stored.field,
            "view": stored.view,
        }
        if not ctx.delegated:
            yield ctx.ops.reload_dataset()
            yield ctx.ops.show_output(_outputs(summary).to_json(), summary)
        return summary

    def resolve_output(self, ctx: Any) -> Any:
        """Show the scores."""
        return _outputs(ctx.results or {})

    def __call__(self, view: Any, a: str, b: str, field: str | None = None) -> Any:
        """Run from Python: ``foo.get_operator(uri)(view, "first", "second")``.

        Args:
            view: dataset or view of images.
            a: mask field of the first run.
            b: mask field of the second run.
            field: field for the agreement; ``None`` for ``<a>_vs_<b>_agreement``.

        Returns:
            FiftyOne's execution result.
        """
        return foo.execute_operator(
            self.uri, {"view": view.view()}, params={"a": a, "b": b, "field": field or ""}
        )


def _outputs(summary: dict[str, Any]) -> Any:
    outputs = types.Object()
    outputs.str("agreement", label="Pixels with matching classes")
    outputs.float("ari", label="Adjusted Rand index")
    outputs.float("nmi", label="Normalised mutual information")
    outputs.int("images", label="Images compared")
    if summary.get("left_out"):
        outputs.int("left_out", label="Images that could not be compared")
    outputs.str("field", label="Agreement of every image")
    outputs.str("view", label="Saved view, images that differ most first")
    return types.Property(outputs, view=types.View(label="Two runs compared"))
