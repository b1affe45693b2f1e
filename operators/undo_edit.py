"""Operator ``undo_edit``: take the last edit of a run back; its form lists all edits."""

from __future__ import annotations

import fiftyone as fo
import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.dataset.editing.history import DONE, Edit, list_edits

from .base import Messages, Outcome, entry
from .forms.edits import EditOperator, chosen_field
from .forms.fields import refuse, show_name
from .params import Params

__all__ = ["UndoEdit", "describe_edit", "in_force"]

LISTED = 10
KINDS = {
    "rename": "names changed",
    "hide": "classes hidden or shown",
    "merge": "classes merged in the masks",
    "split": "class split",
    "detections": "detections put back into the masks",
    "propagate": "corrections propagated",
}


class UndoEdit(EditOperator):
    """List what was edited in a run, and take the last edit back.

    Masks, names and lists are as before the edit, byte for byte. Edits are taken back one by one.
    """

    listed = entry("Take back an edit of pseudo-masks", "undo", risk_level=RiskLevel.MEDIUM)
    title, done = "Take the last edit back", "Edit taken back"
    seconds_an_image = 0.004

    def add_inputs(self, ctx: ExecutionContext, inputs: types.Object, params: Params, field: str) -> None:
        """List the edits, last one first."""
        edits = in_force(ctx.dataset, field)
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

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Take back, and return what was taken back."""
        from fiftyone_plugin.dataset.editing import undo_edit

        field = chosen_field(ctx, params)
        edit = yield from self.run(ctx, lambda _: undo_edit(ctx.dataset, field))
        left = len(in_force(ctx.dataset, field))
        return (
            yield from self.end_edit(ctx, {"field": field, "taken_back": _describe(edit), "edits_left": left})
        )

    def __call__(self, samples: foc.SampleCollection, field: str) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(dataset, field)`` with the masks of a finished run."""
        return self.call(samples, {"field": field})


def _describe(edit: Edit) -> str:
    """Say in a line what an edit did, and when."""
    masks = f", {edit.summary['masks']} masks" if edit.summary.get("masks") else ""
    return f"{edit.number}: {describe_edit(edit)}{masks}, {edit.time[:16]}Z"


def in_force(dataset: fo.Dataset, field: str) -> list[Edit]:
    """Return the edits of a run that were not taken back, oldest first."""
    return [edit for edit in list_edits(dataset, field) if edit.status == DONE]


def describe_edit(edit: Edit) -> str:
    """Say in a few words what an edit did; names of classes come from anybody and are shortened."""
    what = KINDS.get(edit.kind, edit.kind)
    if edit.kind == "split":
        what += f" {show_name(edit.before.all.get(edit.settings['class'], ''))!r}"
    elif edit.kind in ("hide", "merge"):
        ids = edit.settings.get("ids") or edit.settings.get("shown") or []
        what += " (" + ", ".join(show_name(edit.before.all.get(int(id_), str(id_))) for id_ in ids) + ")"
    elif edit.kind == "rename":
        old, new = edit.before.shown, edit.after.shown
        changed = [
            f"{show_name(old[i])} \u2192 {show_name(new[i])}" for i in new if old.get(i, new[i]) != new[i]
        ]
        what += f" ({', '.join(changed)})" if changed else ""
    return what
