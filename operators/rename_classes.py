"""Operator ``rename_classes``: names for the classes of a run, one line a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.app_summary import class_rows, list_runs

__all__ = ["RenameClasses"]

NOTHING = "no finished run of pseudo-masks in this dataset: label it first"
HELP = "The same name for two classes merges them. The masks and their ids stay, so it can be taken back."


class RenameClasses(foo.Operator):
    """Thin shell around :mod:`fiftyone_plugin.class_names`."""

    @property
    def config(self) -> Any:
        """How the App shows and runs the operator."""
        return foo.OperatorConfig(
            name="rename_classes",
            label="Rename and merge classes of pseudo-masks",
            description="Give the classes of a run names, or take all names back",
            icon="drive_file_rename_outline",
            dynamic=True,
            risk_level=RiskLevel.LOW,
        )

    def resolve_input(self, ctx: Any) -> Any:
        """Build the form: the field, and a line for every class."""
        inputs = types.Object()
        form = types.Property(inputs, view=types.View(label="Rename and merge classes"))
        fields = _fields(ctx.dataset)
        if not fields:
            inputs.view("nothing", types.Error(label=NOTHING))
            prop = inputs.str("field", view=types.HiddenView())
            prop.invalid, prop.error_message = True, NOTHING
            return form
        choices = types.Dropdown()
        for name in fields:
            choices.add_choice(name, label=name)
        inputs.enum(
            "field", choices.values(), default=fields[0], label="Masks", description=HELP, view=choices
        )
        field = ctx.params.get("field") or fields[0]
        inputs.bool(
            "restore",
            default=False,
            label="Restore original names",
            description="Takes back every earlier edit, merges included",
        )
        if not ctx.params.get("restore") and field in fields:
            _add_lines(ctx, inputs, field)
        return form

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Rename, and show the new names."""
        from fiftyone_plugin.class_names import rename_classes, restore_names
        from fiftyone_plugin.errors import UsageError

        field = ctx.params.get("field") or next(iter(_fields(ctx.dataset)), None)
        if field is None:
            raise UsageError(NOTHING)
        if ctx.params.get("restore"):
            result = restore_names(ctx.dataset, field)
        else:
            result = rename_classes(ctx.dataset, field, _names(ctx.params, field))
        if not ctx.delegated:
            ctx.ops.reload_dataset()
        return {
            "field": field,
            "classes": len(set(result.names.values())),
            "samples": result.samples,
            "unread": len(result.unread),
        }

    def resolve_output(self, ctx: Any) -> Any:
        """Show what changed."""
        outputs = types.Object()
        outputs.str("field", label="Masks")
        outputs.int("classes", label="Classes by name")
        outputs.int("samples", label="Images whose list of classes changed")
        if (ctx.results or {}).get("unread"):
            outputs.int("unread", label="Images whose mask could not be read")
        return types.Property(outputs, view=types.View(label="Classes renamed"))

    def __call__(
        self, samples: Any, field: str, names: Mapping[int, str] | None = None, *, restore: bool = False
    ) -> Any:
        """Run from Python: ``foo.get_operator(uri)(dataset, field, {1: "sky"})``.

        Args:
            samples: dataset or view.
            field: mask field of a finished run.
            names: class id -> new name.
            restore: take all edits back instead.

        Returns:
            FiftyOne's execution result.
        """
        lines = {_line(field, id_): name for id_, name in (names or {}).items()}
        params = {"field": field, "restore": restore, **lines}
        return foo.execute_operator(self.uri, {"view": samples.view()}, params=params)


def _fields(dataset: Any) -> list[str]:
    return [run.field for run in list_runs(dataset) if run.status == "complete"] if dataset else []


def _line(field: str, id_: int) -> str:
    """Return the name of a class's input; it holds the field, whose lines another field must not inherit."""
    return f"{field}__{id_}"


def _names(params: Mapping[str, Any], field: str) -> dict[int, str]:
    start = _line(field, "")  # type: ignore[arg-type]
    lines = {key.removeprefix(start): name for key, name in params.items() if key.startswith(start)}
    return {int(id_): name or "" for id_, name in lines.items() if id_.isdigit()}


def _add_lines(ctx: Any, inputs: Any, field: str) -> None:
    for row in class_rows(ctx.dataset, field):
        for id_ in row.ids:
            key = _line(field, id_)
            shown = f"in {row.images} image{'' if row.images == 1 else 's'}"
            inputs.str(key, default=row.name, label=f"Class {id_}", description=shown)
            if key in ctx.params and not (ctx.params[key] or "").strip():
                prop = inputs.properties[key]
                prop.invalid, prop.error_message = True, f"class {id_} needs a name"
