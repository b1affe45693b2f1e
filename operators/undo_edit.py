"""Operator ``undo_edit``: take the last edit of a run back; its form lists all edits."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from .edit_forms import add_masks, chosen_field, run_edit, show_counts
from .forms import refuse
from .progress import count_images, execution_options, stream_or_run

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


class UndoEdit(foo.Operator):
    """Thin shell around :func:`fiftyone_plugin.editing.undo_edit`."""

    @property
    def config(self) -> Any:
        """How the App shows and runs the operator."""
        return foo.OperatorConfig(
            name="undo_edit",
            label="Take back an edit of pseudo-masks",
            description="List what was edited in a run, and take the last edit back",
            icon="undo",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=RiskLevel.MEDIUM,
        )

    def resolve_execution_options(self, ctx: Any) -> Any:
        """Offer delegation first where many masks have to be read."""
        return execution_options(SECONDS_AN_IMAGE * count_images(ctx))

    def resolve_input(self, ctx: Any) -> Any:
        """Build the form: the masks, and their edits, last one first."""
        inputs = types.Object()
        field = add_masks(ctx, inputs, HELP)
        if field:
            _list(ctx, inputs, field)
        return types.Property(inputs, view=types.View(label="Take the last edit back"))

    def execute(self, ctx: Any) -> Any:
        """Take back: a stream for the App, or the summary of a delegated run."""
        return stream_or_run(ctx, self._steps(ctx))

    def _steps(self, ctx: Any) -> Generator[Any, None, dict[str, Any]]:
        from fiftyone_plugin.editing import list_edits, undo_edit

        field = chosen_field(ctx) or ""

        def summarize(edit: Any) -> dict[str, Any]:
            left = sum(each.status == "done" for each in list_edits(ctx.dataset, field))
            return {"field": field, "taken_back": _describe(edit), "edits_left": left}

        return (yield from run_edit(ctx, lambda _: undo_edit(ctx.dataset, field), summarize, LABEL))

    def resolve_output(self, ctx: Any) -> Any:
        """Show what was taken back."""
        return show_counts(ctx.results or {}, LABEL)

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
    from fiftyone_plugin.editing import list_edits

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
        what += f" {edit.before.all.get(edit.settings['class'], '')!r}"
    elif edit.kind in ("hide", "merge"):
        ids = edit.settings.get("ids") or edit.settings.get("shown") or []
        what += " (" + ", ".join(edit.before.all.get(int(id_), str(id_)) for id_ in ids) + ")"
    masks = edit.summary.get("masks", 0)
    return f"{edit.number}: {what}" + (f", {masks} masks" if masks else "") + f", {edit.time[:16]}Z"
