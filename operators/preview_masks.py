"""Operator ``preview_masks``: what the settings do to a few images, in seconds, before the whole is run."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, ClassVar

import fiftyone.operators as foo
from fiftyone.operators import types

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.methods import DEFAULT_METHOD
from fiftyone_plugin.runs.estimate import format_seconds

from .base import PseudoMaskOperator
from .forms.fields import block, choose, first_reasons
from .forms.settings import (
    DEFAULT_CLASSES,
    add_settings,
    estimate_run,
    form_values,
    read_settings,
    target_or_reason,
)
from .params import Params
from .running import in_app, run_with_progress

__all__ = ["PreviewMasks"]

FIT = "fit"
PREVIEW_IMAGES = 6
AT_MOST = 12  # selected samples


class PreviewMasks(PseudoMaskOperator):
    """Thin shell around :func:`fiftyone_plugin.runs.preview.preview`."""

    listed: ClassVar[dict[str, Any]] = {
        "name": "preview_masks",
        "label": "Preview pseudo-masks",
        "description": "Photo and mask side by side for a few images; writes nothing to the dataset",
        "icon": "preview",
        "allow_delegated_execution": False,
    }

    def resolve_placement(self, ctx: Any) -> Any:
        """Put a button above the sample grid."""
        return types.Placement(
            types.Places.SAMPLES_GRID_SECONDARY_ACTIONS,
            types.Button(label="Pseudo-masks: preview on a few images", icon="preview", prompt=True),
        )

    title = "Preview pseudo-masks"
    submit = "Preview"

    def form(self, ctx: Any, inputs: Any, params: Params) -> None:
        """Add the inputs; every value has a default."""
        view, reason = target_or_reason(ctx)
        if reason:
            inputs.view("unfit", types.Error(label="These samples cannot be labelled", description=reason))
            block(inputs, "source", reason)
            return
        fit = _source(ctx, params) == FIT
        few = view.limit(min(len(ctx.selected), AT_MOST) or PREVIEW_IMAGES)
        seconds = estimate_run(few, params, fitted=not fit).seconds
        text = f"About {format_seconds(seconds)}, less from the second time on. Nothing is written"
        inputs.view("shown", types.Notice(label=_shown(ctx), description=text))
        _add_source(ctx, inputs)
        if fit:
            add_settings(inputs, params)

    def steps(self, ctx: Any, params: Params) -> Generator[Any, None, dict[str, Any]]:
        """Label a few images, and return their picture."""
        from fiftyone_plugin.images.listing import list_view
        from fiftyone_plugin.runs.config import LabelConfig
        from fiftyone_plugin.runs.preview import preview

        view, reason = target_or_reason(ctx)
        if reason:
            raise UsageError(reason)
        items = [entry.item for entry in list_view(_few(ctx, view))]
        source = _source(ctx, params)
        model = None if source == FIT else _model_of(ctx.dataset, source)
        config = LabelConfig(jobs=1) if model else LabelConfig(**read_settings(params), jobs=1)
        shown = yield from run_with_progress(
            ctx, lambda progress: preview(items, config, model=model, progress=progress)
        )
        summary = {
            "picture": shown.data_url,
            "labelled": shown.labelled,
            "classes": shown.classes,
            "seconds": round(shown.seconds, 1),
            "reasons": first_reasons(shown.skipped),
        }
        if in_app(ctx):
            yield ctx.ops.show_output(_outputs(summary).to_json(), summary)
        return summary

    def outputs(self, results: dict[str, Any]) -> Any:
        """Show the picture."""
        return _outputs(results)

    def __call__(
        self,
        view: Any,
        *,
        classes: int | str = DEFAULT_CLASSES,
        method: str = DEFAULT_METHOD,
        backbone: str | None = None,
        refine: str | None = None,
        size: int = 448,
        run: str | None = None,
    ) -> Any:
        """Run from Python: ``foo.get_operator(uri)(view, ...)``.

        In a script, :func:`fiftyone_plugin.runs.preview.preview` returns the picture itself.

        Args:
            view: dataset or view of images; a few of them are shown.
            classes: number of classes, or ``auto``.
            method: name of the method.
            backbone: backbone name or checkpoint path, ``None`` for the default.
            refine: ``crf`` or ``none``, ``None`` for the best that is here.
            size: side of the network input in pixels.
            run: key of a finished run whose model is used instead of fitting.

        Returns:
            FiftyOne's execution result.
        """
        params = {**form_values(method, classes, backbone, refine, size), "source": run or FIT}
        return foo.execute_operator(self.uri, {"view": view.view()}, params=params)


def _few(ctx: Any, view: Any) -> Any:
    """Return the selected samples, or else some that lie evenly over the view."""
    if ctx.selected:
        return view.select(ctx.selected).limit(AT_MOST)
    ids = view.values("id")
    step = max(1, len(ids) // PREVIEW_IMAGES)
    return view.select(ids[::step][:PREVIEW_IMAGES])


def _shown(ctx: Any) -> str:
    count = len(ctx.selected)
    if count:
        first = f"the first {AT_MOST} of " if count > AT_MOST else ""
        return f"Shows {first}the {count} selected sample{'' if count == 1 else 's'}"
    return "Shows a few images of the view; select samples to choose which"


def _source(ctx: Any, params: Params) -> str:
    """Return ``fit``, or the key of the run whose model is used."""
    from fiftyone_plugin.dataset.summary import list_runs

    if not params.lenient:
        return params.text("source", FIT)  # a run that is gone has a sentence of its own
    keys = [run.key for run in list_runs(ctx.dataset) if run.status == "complete"]
    return params.one_of("source", [FIT, *keys], FIT)


def _add_source(ctx: Any, inputs: Any) -> None:
    """Offer the models of finished runs, where there are any."""
    from fiftyone_plugin.dataset.summary import list_runs

    runs = [run for run in list_runs(ctx.dataset) if run.status == "complete"]
    if not runs:
        return
    choices = {FIT: "new settings, fitted to these images alone"}
    choices |= {run.key: f"the model of {run.title}" for run in runs}
    choose(inputs, "source", choices, default=FIT, label="By")


def _model_of(dataset: Any, key: str) -> Path:
    from fiftyone_plugin.dataset.summary import list_runs

    for run in list_runs(dataset):
        if run.key == key and run.status == "complete":
            return Path(run.out) / "model"
    raise UsageError(f"there is no finished run {key!r} on this dataset")


def _outputs(summary: dict[str, Any]) -> Any:
    outputs = types.Object()
    outputs.str("picture", label="", view=types.ImageView())
    outputs.int("labelled", label="Images")
    outputs.int("classes", label="Classes that occur")
    outputs.float("seconds", label="Seconds")
    if summary.get("reasons"):
        outputs.str("reasons", label="Why images were left out")
    return types.Property(outputs, view=types.View(label="Preview: nothing was written"))
