"""What the forms of edits share: the choice of masks, of a class, and how an edit ends in the App."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, ClassVar

from fiftyone.operators import types

from fiftyone_plugin.dataset.keys import run_key
from fiftyone_plugin.dataset.summary import class_rows, finished_fields, ids_of, list_runs
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.runs.exemplars import exemplar_uri

from ..base import PseudoMaskOperator
from ..params import Params
from ..running import run_with_progress
from .fields import block, choose, show_name

__all__ = [
    "NOTHING",
    "SECONDS_AN_IMAGE",
    "EditOperator",
    "add_class",
    "add_masks",
    "chosen_class",
    "chosen_field",
    "detections_made",
    "images_with_class",
    "required_field",
    "run_edit",
    "show_counts",
]

STRIP_HEIGHT = "64px"
NOTHING = "no finished run of pseudo-masks in this dataset: label it first"
SECONDS_AN_IMAGE = 0.6  # where the features of an image have to be computed again


class EditOperator(PseudoMaskOperator):
    """An operator on the masks of one finished run.

    Attributes:
        help: what it does, below the choice of masks.
        done: heading of the result.
    """

    help: ClassVar[str]
    done: ClassVar[str]

    def form(self, ctx: Any, inputs: Any, params: Params) -> None:
        """Add the choice of masks, and what the edit asks about them."""
        field = add_masks(ctx, inputs, params, self.help)
        if field:
            self.add_inputs(ctx, inputs, params, field)

    def add_inputs(self, ctx: Any, inputs: Any, params: Params, field: str) -> None:
        """Add what the edit asks about the masks of a field."""

    def outputs(self, results: dict[str, Any]) -> Any:
        """Show the counts."""
        return show_counts(results, self.done)


def chosen_field(ctx: Any, params: Params) -> str | None:
    """Return the mask field that the form has, else that of the newest finished run."""
    fields = finished_fields(ctx.dataset)
    return params.one_of("field", fields, fields[0]) if fields else None


def required_field(ctx: Any, params: Params) -> str:
    """Return the mask field that is worked on.

    Raises:
        UsageError: there is no finished run, or none that fills the field of the form.
    """
    field = chosen_field(ctx, params)
    if field is None:
        raise UsageError(NOTHING)
    return field


def add_masks(ctx: Any, inputs: Any, params: Params, description: str) -> str | None:
    """Add the choice of masks and return the field; without a finished run, say so and return ``None``."""
    fields = finished_fields(ctx.dataset)
    if not fields:
        inputs.view("nothing", types.Error(label=NOTHING))
        block(inputs, "field", NOTHING)
        return None
    choose(inputs, "field", fields, default=fields[0], label="Masks", description=description)
    return chosen_field(ctx, params)


def add_class(ctx: Any, inputs: Any, params: Params, field: str, description: str) -> None:
    """Add the choice of one class, with crops of the one that is chosen."""
    choices = {}
    for row in class_rows(ctx.dataset, field):
        for id_ in row.ids:
            shown = f"in {row.images} image{'' if row.images == 1 else 's'}"
            choices[str(id_)] = f"{show_name(row.name)} ({id_}, {shown})"
    choose(inputs, "class_id", choices, required=True, label="Class", description=description)
    chosen = params.one_of("class_id", choices, "")
    folder = next((Path(run.out) for run in list_runs(ctx.dataset) if run.field == field), None)
    strip = exemplar_uri(folder, int(chosen)) if folder and chosen else None
    if strip:
        inputs.view(f"look_{chosen}", types.ImageView(height=STRIP_HEIGHT), default=strip)


def chosen_class(ctx: Any, params: Params, field: str) -> int | None:
    """Return the class that the form has, ``None`` if none is chosen yet."""
    known = [str(id_) for row in class_rows(ctx.dataset, field) for id_ in row.ids]
    chosen = params.one_of("class_id", known, "")
    return int(chosen) if chosen else None


def detections_made(dataset: Any, field: str) -> list[str]:
    """Return the fields of detections that were made from a mask field, oldest first."""
    config = dataset.get_run_info(run_key(field)).config
    made = getattr(config, "detections", None) or {}
    return [name for name in made if dataset.has_sample_field(name)]


def images_with_class(ctx: Any, field: str, class_id: int) -> int:
    """Return the number of images whose list has the class."""
    return max((row.images for row in class_rows(ctx.dataset, field) if class_id in row.ids), default=0)


def run_edit(
    ctx: Any, work: Callable[[Any], Any], summarize: Callable[[Any], dict[str, Any]], label: str
) -> Generator[Any, None, dict[str, Any]]:
    """Do an edit with progress, then show it in the App: new masks, colours of new classes, the counts.

    Args:
        ctx: FiftyOne's execution context.
        work: called with a progress; does the edit.
        summarize: turns what ``work`` returned into the operator's result.
        label: heading of the result.
    """
    summary = summarize((yield from run_with_progress(ctx, work)))
    if not ctx.delegated:
        yield from _show(ctx, summary, label)
    return summary


def _show(ctx: Any, summary: dict[str, Any], label: str) -> Generator[Any, None, None]:
    from ..panel.colours import color_scheme

    ctx.dataset.reload()
    targets = ctx.dataset.mask_targets.get(summary.get("field", "")) or {}
    yield ctx.ops.reload_dataset()
    if targets:
        yield ctx.trigger("set_color_scheme", color_scheme(sorted(id_ for id_ in ids_of(targets) if id_)))
    yield ctx.ops.show_output(show_counts(summary, label).to_json(), summary)


def show_counts(summary: dict[str, Any], label: str) -> Any:
    """Lay out an operator's result: one line an entry."""
    outputs = types.Object()
    for name, value in summary.items():
        text = name.replace("_", " ").capitalize()
        if isinstance(value, int):
            outputs.int(name, label=text)
        else:
            outputs.str(name, label=text)
    return types.Property(outputs, view=types.View(label=label))
