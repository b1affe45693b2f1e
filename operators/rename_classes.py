"""Operator ``rename_classes``: names for the classes of a run, one line a class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.app_summary import class_rows, list_runs
from fiftyone_plugin.exemplars import exemplar_uri

from .edit_forms import NOTHING, add_masks, chosen_field
from .forms import refuse
from .panel_parts import STRIPS
from .progress import count_images, execution_options

__all__ = ["RenameClasses"]

STRIP_HEIGHT = "64px"
HELP = "The same name for two classes merges them, wherever names are used. It can be taken back."
SECONDS_AN_IMAGE = 0.02  # to merge ids in the masks; names alone take next to nothing


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
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=RiskLevel.LOW,
        )

    def resolve_execution_options(self, ctx: Any) -> Any:
        """Offer delegation first where many masks have to be written."""
        return execution_options(SECONDS_AN_IMAGE * count_images(ctx) if ctx.params.get("merge_ids") else 0.0)

    def resolve_input(self, ctx: Any) -> Any:
        """Build the form: the field, and a line for every class."""
        inputs = types.Object()
        field = add_masks(ctx, inputs, HELP)
        if field:
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
            if not ctx.params.get("restore"):
                _add_lines(ctx, inputs, field)
        return types.Property(inputs, view=types.View(label="Rename and merge classes"))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Rename, and show the new names."""
        from fiftyone_plugin.class_names import rename_classes, restore_names
        from fiftyone_plugin.editing import merge_same_names
        from fiftyone_plugin.errors import UsageError

        field = ctx.params.get("field") or chosen_field(ctx)
        if field is None:
            raise UsageError(NOTHING)
        if ctx.params.get("restore"):
            result = restore_names(ctx.dataset, field)
        else:
            result = rename_classes(ctx.dataset, field, _names(ctx.params, field))
        merged = merge_same_names(ctx.dataset, field) if ctx.params.get("merge_ids") else None
        if not ctx.delegated:
            ctx.ops.reload_dataset()
        return {
            "field": field,
            "classes": len(set(result.names.values())),
            "samples": result.samples,
            "unread": len(result.unread),
            "masks": merged.changed if merged else 0,
        }

    def resolve_output(self, ctx: Any) -> Any:
        """Show what changed."""
        outputs = types.Object()
        outputs.str("field", label="Masks")
        outputs.int("classes", label="Classes by name")
        outputs.int("samples", label="Images whose list of classes changed")
        if (ctx.results or {}).get("masks"):
            outputs.int("masks", label="Masks whose ids were merged")
        if (ctx.results or {}).get("unread"):
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


def _names(params: Mapping[str, Any], field: str) -> dict[int, str]:
    start = _line(field, "")  # type: ignore[arg-type]
    lines = {key.removeprefix(start): name for key, name in params.items() if key.startswith(start)}
    return {int(id_): name or "" for id_, name in lines.items() if id_.isdigit()}


def _add_lines(ctx: Any, inputs: Any, field: str) -> None:
    folder = next(Path(run.out) for run in list_runs(ctx.dataset) if run.field == field)
    lines = 0
    for row in class_rows(ctx.dataset, field):
        for id_ in row.ids:
            lines += 1
            key = _line(field, id_)
            strip = exemplar_uri(folder, id_) if lines <= STRIPS else None  # the form is sent at every change
            if strip:
                inputs.view(f"look__{id_}", types.ImageView(height=STRIP_HEIGHT), default=strip)
            shown = f"in {row.images} image{'' if row.images == 1 else 's'}"
            inputs.str(key, default=row.name, label=f"Class {id_}", description=shown)
            if key in ctx.params and not (ctx.params[key] or "").strip():
                refuse(inputs, key, f"class {id_} needs a name")
