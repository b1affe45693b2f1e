"""What the forms of edits share: the choice of masks, of a class, and how an edit ends in the App."""

from __future__ import annotations

from pathlib import Path

from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.dataset.record import RunRecord, list_runs
from fiftyone_plugin.dataset.summary import ClassRow, class_rows
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.runs.exemplars import exemplar_uri

from ..base import Messages, PseudoMaskOperator, Result, once
from ..params import Params
from ..running import show_masks
from .fields import cannot, choose, count_of, show_name

__all__ = [
    "SECONDS_AN_IMAGE",
    "EditOperator",
    "add_class",
    "add_strip",
    "chosen_class",
    "chosen_field",
    "detections_made",
    "finished",
    "rows_of",
]

STRIP_HEIGHT = "64px"
NOTHING = "no finished run of pseudo-masks in this dataset: label it first"
SECONDS_AN_IMAGE = 0.6  # where the features of an image have to be computed again


class EditOperator(PseudoMaskOperator):
    """An operator on the masks of one finished run; its form shows what the docstring says of it."""

    apart = True

    def form(self, ctx: ExecutionContext, inputs: types.Object, params: Params) -> None:
        """Add the choice of masks, and what the edit asks about them."""
        fields = list(finished(ctx))
        if not fields:
            cannot(inputs, "field", NOTHING)
            return
        choose(inputs, "field", fields, default=fields[0], label="Masks", description=self.text[1])
        self.add_inputs(ctx, inputs, params, chosen_field(ctx, params))

    def add_inputs(self, ctx: ExecutionContext, inputs: types.Object, params: Params, field: str) -> None:
        """Add what the edit asks about the masks of a field."""

    def end_edit(self, ctx: ExecutionContext, summary: Result, *shown: str) -> Messages:
        """Return the counts of an edit, and show it in the App: new masks, colours of new classes, counts.

        The fields that are ``shown`` are switched on, in place of those that are.
        """
        if not ctx.delegated:
            ctx.dataset.reload()
        return self.end(ctx, summary, show_masks(ctx, *shown))


@once
def finished(ctx: ExecutionContext) -> dict[str, RunRecord]:
    """Return mask field -> run, of finished runs, newest first."""
    return {run.field: run for run in list_runs(ctx.dataset) if run.is_complete}


def chosen_field(ctx: ExecutionContext, params: Params) -> str:
    """Return the mask field that the form has, else that of the newest finished run.

    Raises:
        UsageError: there is no finished run, or none that fills the field of the form.
    """
    fields = list(finished(ctx))
    if not fields:
        raise UsageError(NOTHING)
    return params.one_of("field", fields, fields[0])


@once
def rows_of(ctx: ExecutionContext, field: str) -> list[ClassRow]:
    """Return the classes of a mask field."""
    return class_rows(ctx.dataset, field)


def add_class(
    ctx: ExecutionContext, inputs: types.Object, params: Params, field: str, description: str
) -> None:
    """Add the choice of one class, with crops of the one that is chosen."""
    choices = {
        str(id_): f"{show_name(row.name)} ({id_}, in {count_of(row.images)})"
        for row in rows_of(ctx, field)
        for id_ in row.ids
    }
    first = next(iter(choices), None)
    choose(inputs, "class_id", choices, default=first, label="Class", description=description)
    chosen = chosen_class(ctx, params, field) or first
    if chosen is not None:
        add_strip(ctx, inputs, f"look_{chosen}", field, int(chosen))


def add_strip(ctx: ExecutionContext, inputs: types.Object, name: str, field: str, id_: int) -> None:
    """Show crops of a class, where the run has some."""
    strip = exemplar_uri(Path(finished(ctx)[field].out), id_)
    if strip:
        inputs.view(name, types.ImageView(height=STRIP_HEIGHT), default=strip)


def chosen_class(ctx: ExecutionContext, params: Params, field: str) -> int | None:
    """Return the class that the form has, ``None`` if none is chosen yet."""
    known = [str(id_) for row in rows_of(ctx, field) for id_ in row.ids]
    chosen = params.one_of("class_id", known, "")
    return int(chosen) if chosen else None


def detections_made(ctx: ExecutionContext, field: str) -> list[str]:
    """Return the fields of detections that were made from a mask field, oldest first."""
    return [name for name in finished(ctx)[field].detections if ctx.dataset.has_sample_field(name)]
