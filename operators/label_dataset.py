"""Operator ``label_dataset``: a form that explains itself, and every image of the view gets a pseudo-mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.dataset.database import dataset_id
from fiftyone_plugin.dataset.keys import run_key
from fiftyone_plugin.dataset.record import RunFields, RunRecord, read_record
from fiftyone_plugin.errors import UsageError

from .base import Messages, Outcome, PseudoMaskOperator, entry
from .forms.fields import ask_overwrite, count_of, refuse
from .forms.lesson import ANEW, add_lesson, read_lesson
from .forms.settings import (
    SHOWN,
    add_engine,
    add_settings,
    describe_unfit,
    estimate_run,
    form_values,
    labelled_view,
    read_engine,
    read_settings,
    run_labelling,
)
from .params import Params
from .running import DELEGATE_ABOVE_S

__all__ = ["LabelDataset"]

DEFAULT_FIELD = "pseudo_mask"
SCHEDULED = "Scheduled work is done by a worker, which has to run: fiftyone delegated launch"


class LabelDataset(PseudoMaskOperator):
    """Give every image a semantic pseudo-mask, without labels and without prompts."""

    listed = entry("Label dataset with pseudo-masks", "auto_awesome")
    button = "Pseudo-masks: label these images"
    title = "Label images with pseudo-masks"
    apart = True
    shown = SHOWN

    def seconds(self, ctx: ExecutionContext, params: Params) -> float:
        """What the estimate says."""
        return estimate_run(labelled_view(ctx), params)[1].seconds

    def form(self, ctx: ExecutionContext, inputs: types.Object, params: Params) -> None:
        """Add the inputs; every value has a default."""
        text = "New field for the masks; classes, coverage, quality and confidence go beside it"
        inputs.str("field", default=DEFAULT_FIELD, label="Field", description=text)
        if reason := describe_unfit(ctx, inputs):
            refuse(inputs, "field", reason)
            return
        _check_field(ctx, inputs, params)
        images, found = estimate_run(labelled_view(ctx), params)
        label, text = f"{count_of(images)}: {found}", ". ".join([found.origin.capitalize(), *found.notes])
        if found.seconds > DELEGATE_ABOVE_S:
            text += f". Too long for the App, so it is scheduled. {SCHEDULED}"
            inputs.view("estimate", types.Warning(label=label, description=text))
        else:
            inputs.view("estimate", types.Notice(label=label, description=text))
        if not add_lesson(ctx, inputs, params):  # a run that is taught has settings already
            add_settings(ctx, inputs, params)
        add_engine(inputs, params)

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Label the view, and return the counts."""
        from fiftyone_plugin.dataset.labelling import label_dataset

        view = labelled_view(ctx)
        field, settings = params.field("field", DEFAULT_FIELD), read_settings(params) | read_engine(params)
        settings |= read_lesson(ctx, params)
        settings |= {name: params.flag(name) for name in ("overwrite", "restart")}
        kept = _reason_to_keep(ctx.dataset, field)
        if kept:
            raise UsageError(kept)
        return run_labelling(
            ctx, field, lambda progress: label_dataset(view, field, **settings, progress=progress)
        )

    def __call__(
        self,
        view: foc.SampleCollection,
        field: str = DEFAULT_FIELD,
        *,
        overwrite: bool = False,
        restart: bool = False,
        delegate: bool = False,
        engine: str = "local",
        address: str | None = None,
        workers: int | None = None,
        labels: str | None = None,
        start: str | None = None,
        discover: int = 0,
        **settings: Any,
    ) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(view, ...)``.

        Args:
            view: dataset or view of images.
            field: new field for the masks.
            overwrite: replace an earlier result in this field.
            restart: forget an unfinished run in this field.
            delegate: schedule the run instead of waiting for it.
            engine: ``local``, or ``ray`` for the machines of a cluster.
            address: of the cluster, ``None`` for one that ends with the run.
            workers: worker processes there, ``None`` for as many as there is room for.
            labels: field of labels to learn from, see docs/teach.md.
            start: mask field of a finished run that is to be taught, ``None`` for a new fit.
            discover: clusters that no labelled image shows and that stay, at most.
            settings: see :func:`~.forms.settings.form_values`.
        """
        params = form_values(**settings) | {"field": field, "overwrite": overwrite, "restart": restart}
        params |= {"engine": engine, "address": address, "workers": workers}
        params |= {"labels": labels, "start": start or ANEW, "discover": discover}
        return self.call(view, params, delegate=delegate)


def _check_field(ctx: ExecutionContext, inputs: types.Object, params: Params) -> None:
    """Mark the field where the run would be refused; offer what else can be done with an earlier one."""
    field = params.field("field", DEFAULT_FIELD)
    record = read_record(ctx.dataset, run_key(field))
    kept = _reason_to_keep(ctx.dataset, field)
    if kept:
        refuse(inputs, "field", kept)
    elif record is not None and not record.is_complete:
        _offer_to_go_on(inputs, record)
    elif record is not None:
        text = f"{field!r} was filled by an earlier run: choose another name, or Overwrite"
        ask_overwrite(inputs, params, "field", text, "Replace the run in this field by a new one")


def _reason_to_keep(dataset: fo.Dataset, field: str) -> str:
    """Return why a field must not be written; empty where it is free, or a run of this dataset fills it."""
    record = read_record(dataset, run_key(field))
    if record is not None and record.dataset_id in ("", dataset_id(dataset)):
        return ""
    if record is not None:  # a clone, or imported: the files are another dataset's
        return f"the run in {field!r} is of another dataset, of which this is a copy: choose another name"
    if dataset.has_run(run_key(field)):
        return f"the run in {field!r} has a record that this plugin did not write: choose another name"
    taken = [name for name in RunFields(field).all if dataset.has_sample_field(name)]
    made = "exists and was not made by a run of pseudo-masks: choose another name"
    return f"{taken[0]!r} {made}" if taken else ""


def _offer_to_go_on(inputs: types.Object, run: RunRecord) -> None:
    from fiftyone_plugin.runs.stopping import is_at_work

    field = run.field
    if is_at_work(Path(run.out)):
        refuse(inputs, "field", f"a run is at work on {field!r}: wait, stop it, or choose another name")
        return
    text = "It goes on where it stopped, if images and settings are the same"
    inputs.view("unfinished", types.Notice(label=f"{field!r} holds an unfinished run", description=text))
    text = "Forget what is done of the unfinished run"
    inputs.bool("restart", default=False, label="Start over", description=text)
