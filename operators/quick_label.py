"""Operator ``quick_label``: one click on the grid, no form, and the view has pseudo-masks."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import fiftyone as fo
import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.dataset.keys import reserved_fields
from fiftyone_plugin.dataset.resuming import unfinished_runs
from fiftyone_plugin.dataset.summary import free_field
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.runs.estimate import format_seconds

from .base import Messages, Outcome, PseudoMaskOperator, entry
from .forms.fields import show_text
from .forms.settings import SHOWN, estimate_run, labelled_view, run_labelling
from .params import Params
from .running import DELEGATE_ABOVE_S, in_app

__all__ = ["QuickLabel"]

logger = logging.getLogger(__name__)

STEM = "pseudomask"
CLICKED = re.compile(rf"{STEM}(_\d+)?")  # fields that clicks fill
WORKER = "fiftyone delegated launch"
_clicked: set[str] = set()  # datasets on which a click is at work; a second one would label everything twice


class QuickLabel(PseudoMaskOperator):
    """Pseudo-masks of the default method, in a new field pseudomask, pseudomask_2, ...

    The default settings of :func:`fiftyone_plugin.label_dataset`, on the current view.
    """

    listed = entry("Label these images in one click", "bolt", dynamic=False)
    button = "Pseudo-masks: label in one click"
    shown = SHOWN

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Label the view.

        A click has no form in which to choose: in the App, what would take too long is scheduled here, and
        the person is told.
        """
        view = labelled_view(ctx)
        if not in_app(ctx):
            return (yield from self._label(ctx, view))
        dataset = ctx.dataset.name
        if dataset in _clicked:
            text = "The click before is still at work: wait for its masks, or stop it in the panel"
            yield ctx.ops.notify(text, variant="info")
            return {}
        _clicked.add(dataset)
        try:
            return (yield from self._label_or_schedule(ctx, view))
        finally:
            _clicked.discard(dataset)

    def _label_or_schedule(self, ctx: ExecutionContext, view: foc.SampleCollection) -> Messages:
        images, found = estimate_run(view, Params({}))
        if found.seconds > DELEGATE_ABOVE_S:
            return (yield from self._schedule(ctx, view, f"{images} images: {found}", found.origin))
        yield ctx.ops.notify(f"Labelling {images} images, about {format_seconds(found.seconds)}")
        return (yield from self._label(ctx, view))

    def _label(self, ctx: ExecutionContext, view: foc.SampleCollection) -> Messages:
        """Go on with a click on the same images that was interrupted, or fill a new field."""
        field = _unfinished_field(ctx.dataset, view)
        if field is not None:
            try:
                return (yield from self._label_into(ctx, view, field))
            except UsageError as error:  # it had other settings than a click has now
                logger.info("%s is left as it is: %s", field, error)
        taken = [*ctx.dataset.get_field_schema(), *reserved_fields(ctx.dataset.list_runs())]
        return (yield from self._label_into(ctx, view, free_field(taken, STEM)))  # nothing is overwritten

    def _label_into(self, ctx: ExecutionContext, view: foc.SampleCollection, field: str) -> Messages:
        from fiftyone_plugin.dataset.labelling import label_dataset

        return run_labelling(ctx, field, lambda progress: label_dataset(view, field, progress=progress))

    def _schedule(
        self, ctx: ExecutionContext, view: foc.SampleCollection, work: str, origin: str
    ) -> Messages:
        """Queue this operator on the view, and say so where it stays to be read."""
        self.call(view, {}, delegate=True)
        text = f"{work}. That is too long for the App, so the work is scheduled"
        outputs = types.Object()
        outputs.view("scheduled", types.Notice(label=text, description=origin.capitalize()))
        outputs.str("worker", label="A worker does it; start one in a shell unless one runs already")
        outputs.str("watch", label="What is scheduled, and how far it is")
        shown = show_text(types.Property(outputs, view=types.View(label="Scheduled")))
        results = {"worker": WORKER, "watch": "fiftyone delegated list"}
        yield ctx.ops.show_output(shown.to_json(), results)
        yield ctx.ops.notify(f"{text}. A worker does it: {WORKER}", variant="info")
        return {}

    def __call__(self, view: foc.SampleCollection) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(view)`` with a dataset or view of images."""
        return self.call(view, {})


def _unfinished_field(dataset: fo.Dataset, view: foc.SampleCollection) -> str | None:
    """Return the field of the newest interrupted click on the same images, which nobody works on."""
    from fiftyone_plugin.images.listing import list_view
    from fiftyone_plugin.runs.folder import RunDirectory
    from fiftyone_plugin.runs.provenance import image_names_sha256

    runs = [run for run in unfinished_runs(dataset).values() if CLICKED.fullmatch(run.field)]
    if not runs:
        return None
    images = image_names_sha256([each.item for each in list_view(view)])
    for run in runs:
        try:
            record = RunDirectory(Path(run.out)).read_run()
        except UsageError:  # its folder is damaged: a new field is the way round it
            continue
        if record and record.settings.get("image_names_sha256") == images:
            return run.field
    return None
