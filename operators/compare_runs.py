"""Operator ``compare_runs``: how far the masks of two runs agree, and where they differ."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ClassVar

import fiftyone.operators as foo
from fiftyone.operators import types

from fiftyone_plugin.dataset.summary import finished_fields
from fiftyone_plugin.errors import UsageError

from .base import PseudoMaskOperator, images_of
from .forms.fields import block, choose, refuse
from .params import Params
from .running import count_images, run_with_progress

__all__ = ["CompareRuns"]

TOO_FEW = "two finished runs of pseudo-masks are needed: label the images once more, with other settings"
SECONDS_AN_IMAGE = 0.01  # on two cores


class CompareRuns(PseudoMaskOperator):
    """Thin shell around :func:`fiftyone_plugin.dataset.comparing.compare_runs`."""

    listed: ClassVar[dict[str, Any]] = {
        "name": "compare_runs",
        "label": "Compare two runs of pseudo-masks",
        "description": "Agreement of the masks of two runs, and a saved view of where they differ",
        "icon": "compare",
    }

    title = "Compare two runs"

    def seconds(self, ctx: Any, params: Params) -> float:
        """Grows with the images."""
        return SECONDS_AN_IMAGE * count_images(ctx)

    def form(self, ctx: Any, inputs: Any, params: Params) -> None:
        """Add two runs, and the name of the field."""
        fields = finished_fields(ctx.dataset)
        if len(fields) < 2:
            inputs.view("too_few", types.Error(label=TOO_FEW))
            block(inputs, "a", TOO_FEW)
            return
        a, b = _pair(params, fields)
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
        _field(params)

    def steps(self, ctx: Any, params: Params) -> Generator[Any, None, dict[str, Any]]:
        """Compare the view, and return the scores."""
        from fiftyone_plugin.dataset.comparing import compare_runs

        a, b = _pair(params, finished_fields(ctx.dataset))
        view, field = images_of(ctx, a, b), _field(params)
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

    def outputs(self, results: dict[str, Any]) -> Any:
        """Show the scores."""
        return _outputs(results)

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


def _pair(params: Params, fields: list[str]) -> tuple[str, str]:
    """Return the mask fields of the two runs.

    Raises:
        UsageError: there are less than two finished runs.
    """
    if len(fields) < 2:
        raise UsageError(TOO_FEW)
    return params.one_of("a", fields, fields[0]), params.one_of("b", fields, fields[1])


def _field(params: Params) -> str | None:
    """Return the field for the agreement, ``None`` for one named after the runs."""
    return params.field("field") or None


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
