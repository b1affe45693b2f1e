"""The part of the panel "Pseudo-masks" that takes the last thing back: an edit, or the run itself."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo

from fiftyone_plugin.common.text import shorten
from fiftyone_plugin.dataset.accepting import is_tagged
from fiftyone_plugin.dataset.record import RunRecord, list_runs
from fiftyone_plugin.dataset.summary import choose_run

from ..forms.history import describe_edit, in_force
from ..running import read_again
from ..undo_edit import UndoEdit
from . import parts

__all__ = ["UndoSection"]

SHOWN = 48  # characters of what is taken back
AT_ONCE_S = 4.0  # what takes longer is done by the form, which shows how far it is


class UndoSection:
    """One button that names what it takes back; a part of the panel, whose state and hooks it shares."""

    def take_back(self, ctx: foo.ExecutionContext) -> None:
        """Take back the edit that the button named; where another one came after it, nothing."""
        from fiftyone_plugin.dataset.editing import undo_edit

        run = choose_run(list_runs(ctx.dataset) if ctx.dataset else [], ctx.panel.state.run)
        edits = in_force(ctx.dataset, run.field) if run else []
        if run is None or not edits or edits[-1].number != ctx.params.get("number"):
            ctx.ops.notify("There was another change since: look at what Undo says now", variant="warning")
        elif UndoEdit.seconds_an_image * run.counts.get("labelled", 0) > AT_ONCE_S:
            uri = f"{self.plugin_name}/undo_edit"  # type: ignore[attr-defined]
            ctx.prompt(uri, params={"field": run.field}, on_success=self.refresh)  # type: ignore[attr-defined]
            return
        else:
            text = f"Taken back: {describe_edit(undo_edit(ctx.dataset, run.field))}"
            ctx.dataset.reload()
            read_again(ctx)
            parts.show_colours(ctx)
            ctx.ops.notify(text, variant="success")
        self.refresh(ctx)  # type: ignore[attr-defined]

    def render_undo(self, ctx: foo.ExecutionContext, row: Any, runs: list[RunRecord], run: RunRecord) -> None:
        """Offer to take back the last edit, or the newest run as long as nothing was done with it."""
        edits = in_force(ctx.dataset, run.field)
        if edits:
            label = f"Undo: {shorten(describe_edit(edits[-1]), SHOWN)}"
            parts.button(row, "undo", label, self.take_back, {"number": edits[-1].number})
        elif run.key == runs[0].key and not is_tagged(ctx.dataset):
            parts.button(row, "undo_run", "Undo this run", self.ask_delete)  # type: ignore[attr-defined]
