"""Operator ``compare_runs``: how far the masks of two runs agree, and where they differ."""

from __future__ import annotations

from typing import ClassVar

import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.dataset.comparison import agreement_field
from fiftyone_plugin.errors import UsageError

from .base import Messages, Outcome, PseudoMaskOperator, entry, images_of, say_images
from .forms.edits import finished
from .forms.fields import cannot, choose, refuse
from .params import Params
from .running import read_again

__all__ = ["CompareRuns"]

TOO_FEW = "two finished runs of pseudo-masks are needed: label the images once more, with other settings"


class CompareRuns(PseudoMaskOperator):
    """Agreement of the masks of two runs, and a saved view of where they differ."""

    listed = entry("Compare two runs of pseudo-masks", "compare")
    title, done = "Compare two runs", "Two runs compared"
    shown: ClassVar[dict[str, str]] = {
        "agreement": "Pixels with matching classes",
        "ari": "Adjusted Rand index",
        "nmi": "Normalised mutual information",
        "images": "Images compared",
        "left_out": "Images that could not be compared",
        "field": "Agreement of every image",
        "view": "Saved view, images that differ most first",
    }
    seconds_an_image = 0.01
    apart = True

    def form(self, ctx: ExecutionContext, inputs: types.Object, params: Params) -> None:
        """Add two runs, and the name of the field."""
        fields = list(finished(ctx))
        if len(fields) < 2:
            cannot(inputs, "a", TOO_FEW)
            return
        a, b = _pair(ctx, params)
        say_images(ctx, inputs, "Compares")
        matched, those = "Its classes are matched one to one", "with the classes of this run"
        choose(inputs, "a", fields, default=fields[0], label="First run", description=matched)
        choose(inputs, "b", fields, default=fields[1], label="Second run", description=those)
        if a == b:
            refuse(inputs, "b", "this is the first run: choose another one")
        text = f"For the share of agreeing pixels of every image; {agreement_field(a, b)} if empty"
        inputs.str("field", label="Field", description=text)
        params.field("field")

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Compare the view, and return the scores."""
        from fiftyone_plugin.dataset.comparing import compare_runs

        a, b = _pair(ctx, params)
        view, field = images_of(ctx, a, b), params.field("field") or None
        stored = yield from self.run(ctx, lambda progress: compare_runs(view, a, b, field, progress=progress))
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
            yield from read_again(ctx)
            yield self.tell(ctx, summary)
        return summary

    def __call__(self, view: foc.SampleCollection, a: str, b: str, field: str | None = None) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(view, "first", "second")``.

        The field of the agreement is ``<a>_vs_<b>_agreement`` if not given.
        """
        return self.call(view, {"a": a, "b": b, "field": field or ""})


def _pair(ctx: ExecutionContext, params: Params) -> tuple[str, str]:
    fields = list(finished(ctx))
    if len(fields) < 2:
        raise UsageError(TOO_FEW)
    return params.one_of("a", fields, fields[0]), params.one_of("b", fields, fields[1])
