"""Operator ``rename_classes``: names for the classes of a run, one line a class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import fiftyone.operators as foo
from fiftyone.operators import types

from fiftyone_plugin.dataset.summary import class_rows, list_runs
from fiftyone_plugin.runs.exemplars import exemplar_uri

from .forms.edits import EditOperator, required_field
from .forms.fields import refuse
from .panel.parts import STRIPS
from .params import Params
from .running import count_images

__all__ = ["RenameClasses"]

STRIP_HEIGHT = "64px"
HELP = "The same name for two classes merges them, wherever names are used. It can be taken back."
SECONDS_AN_IMAGE = 0.02  # to merge ids in the masks; names alone take next to nothing


class RenameClasses(EditOperator):
    """Thin shell around :mod:`fiftyone_plugin.dataset.editing.names`."""

    listed: ClassVar[dict[str, Any]] = {
        "name": "rename_classes",
        "label": "Rename and merge classes of pseudo-masks",
        "description": "Give the classes of a run names, or take all names back",
        "icon": "drive_file_rename_outline",
        "execute_as_generator": False,
    }

    title = "Rename and merge classes"
    help = HELP

    def seconds(self, ctx: Any, params: Params) -> float:
        """Grows with the masks that have to be written."""
        return SECONDS_AN_IMAGE * count_images(ctx) if params.flag("merge_ids") else 0.0

    def add_inputs(self, ctx: Any, inputs: Any, params: Params, field: str) -> None:
        """Add a line for every class."""
        inputs.bool(
            "restore",
            default=False,
            label="Restore original names",
            description="Gives all classes the names that the run wrote; merged names come apart",
        )
        inputs.bool(
            "merge_ids",
            default=False,
            label="Merge in the masks too",
            description="Classes of one name also get one id in the masks, for whoever reads these",
        )
        if not params.flag("restore"):
            _add_lines(ctx, inputs, params, field)

    def result(self, ctx: Any, params: Params) -> dict[str, Any]:
        """Rename, and return the counts."""
        from fiftyone_plugin.dataset.editing import merge_same_names
        from fiftyone_plugin.dataset.editing.names import class_names, rename_classes, restore_names

        field, merge = required_field(ctx, params), params.flag("merge_ids")
        if params.flag("restore"):
            result = restore_names(ctx.dataset, field)
        else:
            old = class_names(ctx.dataset, field)
            new = {id_: name for id_, name in _names(params, field).items() if name != old.get(id_)}
            result = rename_classes(ctx.dataset, field, new)
        merged = merge_same_names(ctx.dataset, field) if merge else None
        if not ctx.delegated:
            ctx.ops.reload_dataset()
        return {
            "field": field,
            "classes": len(set(result.names.values())),
            "samples": result.samples,
            "unread": len(result.unread),
            "masks": merged.changed if merged else 0,
        }

    def outputs(self, results: dict[str, Any]) -> Any:
        """Show what changed."""
        outputs = types.Object()
        outputs.str("field", label="Masks")
        outputs.int("classes", label="Classes by name")
        outputs.int("samples", label="Images whose list of classes changed")
        if results.get("masks"):
            outputs.int("masks", label="Masks whose ids were merged")
        if results.get("unread"):
            outputs.int("unread", label="Images whose mask could not be read")
        return types.Property(outputs, view=types.View(label="Classes renamed"))

    def __call__(
        self,
        samples: Any,
        field: str,
        names: Mapping[int, str] | None = None,
        *,
        restore: bool = False,
        merge_ids: bool = False,
    ) -> Any:
        """Run from Python: ``foo.get_operator(uri)(dataset, field, {1: "sky"})``.

        Args:
            samples: dataset or view.
            field: mask field of a finished run.
            names: class id -> new name.
            restore: give back the names that the run wrote instead.
            merge_ids: give classes of one name one id in the masks, too.

        Returns:
            FiftyOne's execution result.
        """
        lines = {_line(field, id_): name for id_, name in (names or {}).items()}
        params = {"field": field, "restore": restore, "merge_ids": merge_ids, **lines}
        return foo.execute_operator(self.uri, {"view": samples.view()}, params=params)


def _line(field: str, id_: int) -> str:
    """Return the name of a class's input; it holds the field, whose lines another field must not inherit."""
    return f"{field}__{id_}"


def _names(params: Params, field: str) -> dict[int, str]:
    lines = params.numbered(f"{field}__")
    return {id_: params.text(name) for id_, name in lines.items() if params.values[name] is not None}


def _add_lines(ctx: Any, inputs: Any, params: Params, field: str) -> None:
    folder = next((Path(run.out) for run in list_runs(ctx.dataset) if run.field == field), None)
    lines = 0
    for row in class_rows(ctx.dataset, field):
        for id_ in row.ids:
            lines += 1
            key = _line(field, id_)
            strip = exemplar_uri(folder, id_) if folder and lines <= STRIPS else None
            if strip:
                inputs.view(f"look__{id_}", types.ImageView(height=STRIP_HEIGHT), default=strip)
            shown = f"in {row.images} image{'' if row.images == 1 else 's'}"
            inputs.str(key, default=row.name, label=f"Class {id_}", description=shown)
            if params.values.get(key) is not None and not params.text(key):
                refuse(inputs, key, f"class {id_} needs a name")
