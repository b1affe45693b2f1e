"""The part of the panel "Pseudo-masks" that is about a run at work, or one that was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fiftyone.operators import types

from fiftyone_plugin.dataset.record import RunRecord, list_runs
from fiftyone_plugin.dataset.resuming import done_of
from fiftyone_plugin.dataset.summary import choose_run
from fiftyone_plugin.runs.stopping import is_at_work

__all__ = ["UnfinishedSection"]

AT_WORK = "At work. *Refresh* shows how far it is"
WAITS = "It was stopped or interrupted, and what is done is kept. Its images and settings are used again"


class UnfinishedSection:
    """How far a run is, and a button to stop it or to go on; a part of the panel, whose hooks it shares."""

    def go_on(self, ctx: Any) -> None:
        """Open the form that goes on with the chosen run."""
        self._open(ctx, "resume_run")

    def stop(self, ctx: Any) -> None:
        """Open the form that stops the chosen run."""
        self._open(ctx, "stop_run")

    def _open(self, ctx: Any, name: str) -> None:
        runs = list_runs(ctx.dataset) if ctx.dataset else []
        run = choose_run(runs, ctx.panel.state.run)
        if run and not run.is_complete:
            uri = f"{self.plugin_name}/{name}"  # type: ignore[attr-defined]
            ctx.prompt(uri, params={"field": run.field}, on_success=self.refresh)  # type: ignore[attr-defined]

    def render_unfinished(self, panel: Any, run: RunRecord) -> None:
        """Say how far the run is, in place of plots of what is not there yet."""
        done, images = done_of(run)
        label = f"{done:,} of {images:,} masks are done" if images else f"{done:,} masks are done"
        busy = is_at_work(Path(run.out))
        panel.view("progress", types.Notice(label=label, description=AT_WORK if busy else WAITS))
        row = panel.h_stack("unfinished", gap=2, align_y="center")
        if busy:
            row.btn("stop", label="Stop", on_click=self.stop, variant="outlined")
        else:
            row.btn("go_on", label="Go on", on_click=self.go_on, variant="contained")
