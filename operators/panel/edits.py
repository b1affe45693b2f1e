"""The part of the panel "Pseudo-masks" that leads to the forms of edits."""

from __future__ import annotations

from typing import Any

from fiftyone_plugin.dataset.record import RunRecord, list_runs
from fiftyone_plugin.dataset.summary import choose_run

__all__ = ["EditSection"]

FORMS = {
    "hide_classes": "Hide classes",
    "split_class": "Split a class",
    "masks_to_detections": "Edit as detections",
    "detections_to_masks": "Put detections back",
    "propagate_corrections": "Propagate corrections",
    "undo_edit": "Take back an edit",
}
IN_A_ROW = 3  # more would be cut off in a panel of half the window


class EditSection:
    """Buttons that open the forms; a part of the panel, whose state and hooks it shares."""

    def open_edit(self, ctx: Any) -> None:
        """Open the form of an edit of the chosen run."""
        runs = list_runs(ctx.dataset) if ctx.dataset else []
        run, name = choose_run(runs, ctx.panel.state.run), ctx.params.get("operator")
        if run and isinstance(name, str) and name in FORMS:
            uri = f"{self.plugin_name}/{name}"  # type: ignore[attr-defined]
            ctx.prompt(uri, params={"field": run.field}, on_success=self.refresh)  # type: ignore[attr-defined]

    def render_edits(self, panel: Any, run: RunRecord) -> None:
        """Add a button for every edit."""
        for number, (name, label) in enumerate(FORMS.items()):
            if number % IN_A_ROW == 0:
                row = panel.h_stack(f"edits_{number}", gap=2, align_y="center")
            row.btn(
                f"edit_{name}",
                label=label,
                on_click=self.open_edit,
                params={"operator": name},
                variant="outlined",
            )
