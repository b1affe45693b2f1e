"""Operator ``name_classes``: masks with the names that a person has chosen, in a field of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import ClassVar

import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.dataset.cluster_names import named_field
from fiftyone_plugin.dataset.name_drafts import drafted
from fiftyone_plugin.dataset.record import finished_run
from fiftyone_plugin.runs.name_sheet import BACKGROUND

from .base import Messages, Outcome, entry
from .forms.edits import EditOperator, chosen_field, rows_of
from .forms.fields import count_of, refuse, show_name
from .params import Params
from .running import in_app, show_masks

__all__ = ["NameClasses"]

SECONDS_AN_IMAGE = 0.05
LISTED = 30  # names in the form


class NameClasses(EditOperator):
    """Write the masks of a run with the names that its classes were given, to a new field.

    Classes of one name become one, 'background' becomes 0, and a class without a name stays as it is. The
    run that was named stays too. Names are given in the panel, with Name classes.
    """

    listed = entry("Name classes of pseudo-masks", "label")
    title, done = "Masks with names", "Masks with names"
    submit = "Write"
    apart = True
    shown: ClassVar[dict[str, str]] = {
        "field": "New field",
        "classes": "Classes",
        "names": "Names",
        "images": "Images",
        "left_out": "Images left out",
    }
    seconds_an_image = SECONDS_AN_IMAGE

    def add_inputs(self, ctx: ExecutionContext, inputs: types.Object, params: Params, field: str) -> None:
        """Add the new field, and say what the names make of the classes."""
        text = "The masks with names; deleting it takes them back"
        default = named_field(ctx.dataset, field)
        inputs.str("new_field", default=default, label="New field", description=text)
        new_field = params.field("new_field", default)
        if ctx.dataset.has_sample_field(new_field):
            refuse(inputs, "new_field", f"{new_field!r} exists: choose another name")
        classes = sum(len(row.ids) for row in rows_of(ctx, field))
        names = {**drafted(ctx.dataset, finished_run(ctx.dataset, field)), **_names(params, field)}
        text = f"{len(names)} of {classes} classes have a name"
        described = f"{_listed(names)}. The others stay classes of their own"
        inputs.view("named", types.Notice(label=text, description=described if names else None))

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Write the new field, and return the counts."""
        from fiftyone_plugin.dataset.cluster_names import name_classes

        field = chosen_field(ctx, params)
        new_field = params.field("new_field") or named_field(ctx.dataset, field)
        names = _names(params, field)
        result = yield from self.run(
            ctx,
            lambda progress: name_classes(ctx.dataset, field, names, new_field, progress=progress),
            new_field,
        )
        summary = {
            "field": new_field,
            "classes": len(result.class_names),
            "names": ", ".join(show_name(name) for name in list(result.class_names.values())[:LISTED]),
            "images": len(result.labelled),
            "left_out": len(result.skipped),
        }
        if in_app(ctx):
            yield from show_masks(ctx, new_field)
            images = count_of(len(result.labelled))
            text = f"{summary['classes']} classes with names in {new_field!r}, {images}"
            yield ctx.ops.notify(text, variant="success")
        return summary

    def __call__(
        self,
        samples: foc.SampleCollection,
        field: str,
        names: Mapping[int, str] | None = None,
        new_field: str | None = None,
    ) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(dataset, field, {1: "sky", 4: "sky"})``.

        These names stand beside those given in the panel; the new field is ``<field>_named`` by default.
        """
        lines = {_line(field, id_): name for id_, name in (names or {}).items()}
        return self.call(samples, {"field": field, "new_field": new_field, **lines})


def _line(field: str, id_: int) -> str:
    return f"{field}__name__{id_}"


def _names(params: Params, field: str) -> dict[int, str]:
    return {id_: params.text(name) for id_, name in params.numbered(_line(field, 0)[:-1]).items()}


def _listed(names: Mapping[int, str]) -> str:
    counts = Counter("background" if each.casefold() in BACKGROUND else each for each in names.values())
    shown = [f"{show_name(name)} ({count})" for name, count in sorted(counts.items())]
    return ", ".join(shown[:LISTED]) + (", ..." if len(shown) > LISTED else "")
