"""Operator ``rename_classes``: names for the classes of a run, one line a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from .base import Outcome, Result, entry
from .forms.edits import EditOperator, add_strip, chosen_field, rows_of
from .forms.fields import count_of, refuse
from .params import Params
from .running import read_again

__all__ = ["RenameClasses"]

SECONDS_AN_IMAGE = 0.02  # to merge ids in the masks; names alone take next to nothing
STRIPS = 20  # classes whose crops are shown; a form is sent with every key


class RenameClasses(EditOperator):
    """Give the classes of a run names, or take all names back.

    The same name for two classes merges them, wherever names are used. It can be taken back.
    """

    listed = entry(
        "Rename and merge classes of pseudo-masks", "drive_file_rename_outline", execute_as_generator=False
    )
    title, done = "Rename and merge classes", "Classes renamed"
    shown: ClassVar[dict[str, str]] = {
        "field": "Masks",
        "classes": "Classes by name",
        "samples": "Images whose list of classes changed",
        "masks": "Masks whose ids were merged",
        "unread": "Images whose mask could not be read",
    }

    def seconds(self, ctx: ExecutionContext, params: Params) -> float:
        """Grows with the masks that have to be written."""
        return SECONDS_AN_IMAGE * len(ctx.view) if params.flag("merge_ids") else 0.0

    def add_inputs(self, ctx: ExecutionContext, inputs: types.Object, params: Params, field: str) -> None:
        """Add a line for every class."""
        text = "Gives all classes the names that the run wrote; merged names come apart"
        inputs.bool("restore", default=False, label="Restore original names", description=text)
        text = "Classes of one name also get one id in the masks, for whoever reads these"
        inputs.bool("merge_ids", default=False, label="Merge in the masks too", description=text)
        if params.flag("restore"):
            return
        only = set(params.text("only").split(","))  # ids of the classes that the panel asks about
        classes = [(id_, row) for row in rows_of(ctx, field) for id_ in row.ids]
        classes = [(id_, row) for id_, row in classes if str(id_) in only] or classes
        for number, (id_, row) in enumerate(classes):
            if number < STRIPS:
                add_strip(ctx, inputs, f"look__{id_}", field, id_)
            key, shown = _line(field, id_), f"in {count_of(row.images)}"
            inputs.str(key, default=row.name, label=f"Class {id_}", description=shown)
            if params.values.get(key) is not None and not params.text(key):
                refuse(inputs, key, f"class {id_} needs a name")

    def result(self, ctx: ExecutionContext, params: Params) -> Result:
        """Rename, and return the counts."""
        from fiftyone_plugin.dataset.editing import merge_same_names
        from fiftyone_plugin.dataset.editing.names import class_names, rename_classes, restore_names

        field, merge = chosen_field(ctx, params), params.flag("merge_ids")
        if params.flag("restore"):
            result = restore_names(ctx.dataset, field)
        else:
            old = class_names(ctx.dataset, field)
            new = {id_: name for id_, name in _names(params, field).items() if name != old.get(id_)}
            result = rename_classes(ctx.dataset, field, new)
        merged = merge_same_names(ctx.dataset, field) if merge else None
        if not ctx.delegated:
            read_again(ctx)
        return {
            "field": field,
            "classes": len(set(result.names.values())),
            "samples": result.samples,
            "unread": len(result.unread),
            "masks": merged.changed if merged else 0,
        }

    def __call__(
        self,
        samples: foc.SampleCollection,
        field: str,
        names: Mapping[int, str] | None = None,
        *,
        restore: bool = False,
        merge_ids: bool = False,
    ) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(dataset, field, {1: "sky"})``.

        Or ``restore`` the names that the run wrote; ``merge_ids``: one id in the masks, too, for one name.
        """
        lines = {_line(field, id_): name for id_, name in (names or {}).items()}
        return self.call(samples, {"field": field, "restore": restore, "merge_ids": merge_ids, **lines})


def _line(field: str, id_: int) -> str:
    """Return the name of a class's input; it holds the field, whose lines another field must not inherit."""
    return f"{field}__{id_}"


def _names(params: Params, field: str) -> dict[int, str]:
    lines = params.numbered(f"{field}__")
    return {id_: params.text(name) for id_, name in lines.items() if params.values[name] is not None}
