"""Operator ``undo_edit``: take the last edit of a run back; its form lists all edits."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ClassVar

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from .forms.edits import EditOperator, required_field, run_edit
from .forms.fields import refuse, show_name
from .params import Params
from .running import count_images

__all__ = ["UndoEdit"]

LABEL = "Edit taken back"
HELP = "Masks, names and lists are as before the edit, byte for byte. Edits are taken back one by one."
KINDS = {
    "rename": "names changed",
    "hide": "classes hidden or shown",
    "merge": "classes merged in the masks",
    "split": "class split",
    "detections": "detections put back into the masks",
    "propagate": "corrections propagated",
}
LISTED = 10
SECONDS_AN_IMAGE = 0.004


class UndoEdit(EditOperator):
    """Thin shell around :func:`fiftyone_plugin.dataset.editing.undo_edit`."""

    listed: ClassVar[dict[str, Any]] = {
        "name": "undo_edit",
        "label": "Take back an edit of pseudo-masks",
        "description": "List what was edited in a run, and take the last edit back",
        "icon": "undo",
        "risk_level": RiskLevel.MEDIUM,
    }

    title = "Take the last edit back"
    help = HELP
    done = LABEL

    def seconds(self, ctx: Any, params: Params) -> float:
        """Grows with the masks that have to be read."""
        return SECONDS_AN_IMAGE * count_images(ctx)

    def add_inputs(self, ctx: Any, inputs: Any, params: Params, field: str) -> None:
        """List the edits, last one first."""
        _list(ctx, inputs, field)

    def steps(self, ctx: Any, params: Params) -> Generator[Any, None, dict[str, Any]]:
        """Take back, and return what was taken back."""
        from fiftyone_plugin.dataset.editing import list_edits, undo_edit

        field = required_field(ctx, params)

        def summarize(edit: Any) -> dict[str, Any]:
            left = sum(each.status == "done" for each in list_edits(ctx.dataset, field))
            return {"field": field, "taken_back": _describe(edit), "edits_left": left}

        return (yield from run_edit(ctx, lambda _: undo_edit(ctx.dataset, field), summarize, LABEL))

    def __call__(self, samples: Any, field: str) -> Any:
        """Run from Python: ``foo.get_operator(uri)(dataset, field)``.

        Args:
            samples: dataset or view; edits belong to the whole dataset.
            field: mask field of a finished run.

        Returns:
            FiftyOne's execution result.
        """
        return foo.execute_operator(self.uri, {"view": samples.view()}, params={"field": field})


def _list(ctx: Any, inputs: Any, field: str) -> None:
    from fiftyone_plugin.dataset.editing import list_edits

    edits = [edit for edit in list_edits(ctx.dataset, field) if edit.status == "done"]
    if not edits:
        inputs.view("edits", types.Error(label=f"{field!r} has no edit to take back"))
        refuse(inputs, "field", "there is no edit to take back")
        return
    last, *others = edits[::-1]
    inputs.view("last", types.Warning(label="This is taken back", description=_describe(last)))
    if others:
        more = f"; and {len(others) - LISTED} more" if len(others) > LISTED else ""
        text = "; ".join(_describe(edit) for edit in others[:LISTED]) + more
        inputs.view("others", types.Notice(label="Edits before it", description=text))


def _describe(edit: Any) -> str:
    """Say in a line what an edit did."""
    what = KINDS.get(edit.kind, edit.kind)
    if edit.kind == "split":
        what += f" {show_name(edit.before.all.get(edit.settings['class'], ''))!r}"
    elif edit.kind in ("hide", "merge"):
        ids = edit.settings.get("ids") or edit.settings.get("shown") or []
        what += " (" + ", ".join(show_name(edit.before.all.get(int(id_), str(id_))) for id_ in ids) + ")"
    masks = edit.summary.get("masks", 0)
    return f"{edit.number}: {what}" + (f", {masks} masks" if masks else "") + f", {edit.time[:16]}Z"
