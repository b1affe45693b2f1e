"""The part of the panel "Pseudo-masks" that leads to the forms of edits."""

from __future__ import annotations

from typing import Any

from fiftyone_plugin.dataset.record import RunRecord, list_runs
from fiftyone_plugin.dataset.summary import choose_run, free_field

__all__ = ["EditSection"]

FORMS = {
    "hide_classes": "Hide classes",
    "split_class": "Split a class",
    "masks_to_detections": "Edit as detections",
    "detections_to_masks": "Put detections back",
    "propagate_corrections": "Propagate corrections",
    "undo_edit": "Take back an edit",
    "suggest_images": "What to label next",
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

    def teach(self, ctx: Any) -> None:
        """Open the form that labels anew, from labels of a person and what the chosen run knows."""
        runs = list_runs(ctx.dataset) if ctx.dataset else []
        run = choose_run(runs, ctx.panel.state.run)
        if run:
            uri = f"{self.plugin_name}/label_dataset"  # type: ignore[attr-defined]
            taken = [*ctx.dataset.get_field_schema(), *(name for each in runs for name in each.fields)]
            params = {"field": free_field(taken, f"{run.field}_taught"), "start": run.field}
            params["view_target"] = "DATASET"  # the view may be that of suggestions, which have no labels yet
            ctx.prompt(uri, params=params, on_success=self.show_taught)

    def show_taught(self, ctx: Any) -> None:
        """Show the run that has been taught, and offer to compare it with the one that it was taught from."""
        ctx.panel.state.other = ctx.panel.state.run
        ctx.panel.state.run = None
        self.refresh(ctx)  # type: ignore[attr-defined]

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
        row.btn("teach", label="Teach with labels", on_click=self.teach, variant="outlined")
