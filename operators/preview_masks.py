"""Operator ``preview_masks``: what the settings do to a few images, in seconds, before the whole is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.common.skipped import Skipped
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.runs.estimate import format_seconds

from .base import Messages, Outcome, PseudoMaskOperator, entry
from .forms.edits import finished
from .forms.fields import block, choose, first_reasons
from .forms.settings import (
    add_settings,
    describe_unfit,
    estimate_run,
    form_values,
    labelled_view,
    read_settings,
)
from .params import Params
from .running import in_app

__all__ = ["PreviewMasks"]

FIT = "fit"
PREVIEW_IMAGES = 6
AT_MOST = 12  # selected samples


class PreviewMasks(PseudoMaskOperator):
    """Photo and mask side by side for a few images; writes nothing to the dataset."""

    listed = entry("Preview pseudo-masks", "preview", allow_delegated_execution=False)
    button = "Pseudo-masks: preview on a few images"
    title, submit, done = "Preview pseudo-masks", "Preview", "Preview: nothing was written"
    shown: ClassVar[dict[str, str]] = {
        "picture": "",
        "labelled": "Images",
        "classes": "Classes that occur",
        "seconds": "Seconds",
        "reasons": "Why images were left out",
    }

    def form(self, ctx: ExecutionContext, inputs: types.Object, params: Params) -> None:
        """Add the inputs; every value has a default."""
        if reason := describe_unfit(ctx, inputs):
            block(inputs, "source", reason)
            return
        runs = {run.key: run for run in finished(ctx).values()}
        fit = params.one_of("source", [FIT, *runs], FIT) == FIT
        few = labelled_view(ctx).limit(min(len(ctx.selected), AT_MOST) or PREVIEW_IMAGES)
        seconds = estimate_run(few, params, fitted=not fit)[1].seconds
        text = f"About {format_seconds(seconds)}, less from the second time on. Nothing is written"
        inputs.view("shown", types.Notice(label=_shown(ctx), description=text))
        if runs:
            choices = {FIT: "new settings, fitted to these images alone"}
            choices |= {key: f"the model of {run.title}" for key, run in runs.items()}
            choose(inputs, "source", choices, default=FIT, label="By")
        if fit:
            add_settings(ctx, inputs, params)

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Label a few images, and return their picture."""
        from fiftyone_plugin.images.listing import list_view
        from fiftyone_plugin.runs.config import LabelConfig
        from fiftyone_plugin.runs.preview import preview

        items = [each.item for each in list_view(_few(ctx, labelled_view(ctx)))]
        source, runs = params.text("source", FIT), {run.key: run for run in finished(ctx).values()}
        if source not in (FIT, *runs):
            raise UsageError(f"there is no finished run {source!r} on this dataset")
        model = Path(runs[source].out) / "model" if source != FIT else None
        config = LabelConfig(jobs=1) if model else LabelConfig(**read_settings(params), jobs=1)
        shown = yield from self.run(
            ctx, lambda progress: preview(items, config, model=model, progress=progress)
        )
        summary = {
            "picture": shown.data_url,
            "labelled": shown.labelled,
            "classes": shown.classes,
            "seconds": round(shown.seconds, 1),
            "reasons": first_reasons([Skipped(*each) for each in shown.skipped]),
        }
        if in_app(ctx):
            yield self.tell(ctx, summary)
        return summary

    def __call__(self, view: foc.SampleCollection, *, run: str | None = None, **settings: Any) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(view, ...)``.

        In a script, :func:`fiftyone_plugin.runs.preview.preview` returns the picture itself.

        Args:
            view: dataset or view of images; a few of them are shown.
            run: key of a finished run whose model is used instead of fitting.
            settings: see :func:`~.forms.settings.form_values`.
        """
        return self.call(view, {**form_values(**settings), "source": run or FIT})


def _few(ctx: ExecutionContext, view: foc.SampleCollection) -> foc.SampleCollection:
    """Return the selected samples, or else some that lie evenly over the view."""
    if ctx.selected:
        return view.select(ctx.selected).limit(AT_MOST)
    ids = view.values("id")
    step = max(1, len(ids) // PREVIEW_IMAGES)
    return view.select(ids[::step][:PREVIEW_IMAGES])


def _shown(ctx: ExecutionContext) -> str:
    count = len(ctx.selected)
    if count:
        first = f"the first {AT_MOST} of " if count > AT_MOST else ""
        return f"Shows {first}the {count} selected sample{'' if count == 1 else 's'}"
    return "Shows a few images of the view; select samples to choose which"
