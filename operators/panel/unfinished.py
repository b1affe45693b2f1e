"""The part of the panel "Pseudo-masks" that watches: what is at work, what was stopped, and what is new."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.common.text import plain_markdown
from fiftyone_plugin.dataset.comparison import COMPARISON_METHOD
from fiftyone_plugin.dataset.editing.history import DONE
from fiftyone_plugin.dataset.record import RunRecord
from fiftyone_plugin.dataset.resuming import done_of
from fiftyone_plugin.runs.noting import Note, is_running, read_note
from fiftyone_plugin.runs.stopping import request_stop

from ..running import (
    StageState,
    describe_stage,
    is_labelling,
    is_shown_here,
    read_again,
    show_colours,
    work_of,
)
from . import parts
from .guard import WORK, GuardedPanel, text_of

__all__ = ["UnfinishedSection"]

BUSY_MS, IDLE_MS = 1500, 4000  # between looks
WAITS = "It was stopped or interrupted, and what is done is kept. *Go on* uses its images and settings again."
BEGINS: StageState = {"progress": 0.0, "label": "goes on"}


class UnfinishedSection(GuardedPanel):
    """How far work is, and buttons to stop it or to go on; a part of the panel, whose hooks it shares."""

    def watch(self, ctx: ExecutionContext) -> bool:
        """Look whether anything is new; the panel stays as it is where nothing is.

        Returns:
            Whether the panel has to be drawn anew.
        """
        runs = parts.runs_of(ctx)
        if ctx.panel.state.naming is not None or ctx.panel.state.confirm is not None:
            return False
        now, before = _stamp(ctx, runs), ctx.panel.state.stamp
        if now != before and isinstance(before, dict):
            done = [run for run in runs if run.is_complete and before.get(run.key, [True])[0] is False]
            self.refresh(ctx)
            for run in done[:1]:
                if not is_shown_here(ctx.dataset, run.field):  # else its operator shows them
                    read_again(ctx)
                    ctx.panel.state.to_show = run.field  # at the next look: the App has to load it first
            return True
        to_show = text_of(ctx.panel.state.to_show)
        if to_show is not None:
            ctx.panel.state.to_show = None
            ctx.ops.set_active_fields([to_show])
            show_colours(ctx)
            return True
        moved = _moved(ctx, runs)
        if moved == ctx.panel.state.moved:
            return False
        ctx.panel.state.moved = moved
        return True

    def stop_now(self, ctx: ExecutionContext) -> None:
        """Ask a run to end within one batch."""
        run = self._named(ctx)
        if run and request_stop(Path(run.out)):
            ctx.ops.notify(f"{run.field!r} ends within one batch; what is done is kept", variant="info")

    def show_run(self, ctx: ExecutionContext) -> None:
        """Show another run."""
        if run := self._named(ctx):
            ctx.panel.state.run = run.key
            self.refresh(ctx)

    def go_on(self, ctx: ExecutionContext) -> None:
        """Open the form that goes on with a run."""
        run = self._named(ctx)
        if run and not run.is_complete:
            self._prompt(ctx, "resume_run", {"field": run.field}, self.refresh)

    def _named(self, ctx: ExecutionContext) -> RunRecord | None:
        return next((run for run in parts.runs_of(ctx) if run.key == ctx.params.get("key")), None)

    def turn_to_new(self, ctx: ExecutionContext, runs: list[RunRecord]) -> None:
        """Choose the newest of the runs that were not there when the panel last looked, if there are any."""
        before = ctx.panel.state.stamp
        new = [run.key for run in runs if run.key not in before] if isinstance(before, dict) else []
        if new:
            ctx.panel.state.run = new[0]

    def watch_state(self, ctx: ExecutionContext, runs: list[RunRecord]) -> dict[str, object]:
        """Return what the state holds of what was seen."""
        return {"stamp": _stamp(ctx, runs), "moved": _moved(ctx, runs)}

    # ------------------------------------------------------------------ layout

    def render_watch(self, ctx: ExecutionContext, panel: types.Object, runs: list[RunRecord]) -> None:
        """Show how far everything is that is at work, and look again soon."""
        running = [run for run in runs if _runs(ctx, run)]
        for number, run in enumerate(running):
            note = read_note(Path(run.out))
            self._bar(panel, f"run_{number}", f"Labelling {run.field}", _describe(note) if note else BEGINS)
            row = parts.flow(panel, f"run_buttons_{number}")
            parts.button(row, "stop", "Stop", self.stop_now, {"key": run.key})
            if run.key != ctx.panel.state.run:
                parts.button(row, "look", "Show it", self.show_run, {"key": run.key})
        work = work_of(ctx.dataset_name)
        if work is not None:
            panel.md(plain_markdown(work), name=WORK)
        busy = bool(running) or work is not None
        view = types.TimerView(interval=BUSY_MS if busy else IDLE_MS, on_interval=self.watch)
        panel.view("look_soon" if busy else "look_again", view)

    def _bar(self, panel: types.Object, name: str, what: str, state: StageState) -> None:
        text = f"**{plain_markdown(what)}** \u00b7 {plain_markdown(state['label'])}"
        share, colour = f"{state['progress']:.1%}", "var(--fo-palette-primary-main)"
        track = "rgba(128,128,128,.25)"
        style = {
            "paddingBottom": "6px",
            "minWidth": 420,
            "borderBottom": "4px solid transparent",
            "borderImage": f"linear-gradient(to right,{colour} {share},{track} {share}) 1",
        }
        panel.md(text, name=name, componentsProps={"container": {"sx": style}})

    def render_unfinished(self, ctx: ExecutionContext, panel: types.Object, run: RunRecord) -> None:
        """Say what there is of a run that is not complete, in place of plots of what is not there yet."""
        if _runs(ctx, run):
            return  # its progress is above
        done, images = done_of(run)
        label = f"{done:,} of {images:,} masks are done" if images else f"{done:,} masks are done"
        note = read_note(Path(run.out))
        why = f" Reason: {plain_markdown(note.reason)}." if note is not None and note.reason else ""
        panel.md(f"**{label}.** {WAITS}{why}", name="progress")
        row = parts.flow(panel, "unfinished")
        parts.button(row, "go_on", "Go on", self.go_on, {"key": run.key}, first=True)


def _runs(ctx: ExecutionContext, run: RunRecord) -> bool:
    """Tell whether a run is at work, here or in another process."""
    return not run.is_complete and (is_labelling(ctx.dataset, run.field) or is_running(Path(run.out)))


def _describe(note: Note) -> StageState:
    seconds = note.seconds + (max(0.0, time.time() - note.at) if note.at else 0.0)
    state = describe_stage(note.stage, note.done, note.total, note.seconds)
    if not note.done and seconds > 3:
        state["label"] += f", for {seconds:.0f} s"
    return state


def _stamp(ctx: ExecutionContext, runs: list[RunRecord]) -> dict[str, list[object]]:
    """Return what changes where a table or a plot does: key of a run -> whether it is done, edits, run.

    Edits are those in force; comparisons of the dataset belong to every run.
    """
    dataset = ctx.dataset
    keys = dataset.list_runs(method=COMPARISON_METHOD) if runs else []
    compared = " ".join(f"{key} {dataset.get_run_info(key).timestamp}" for key in keys)
    return {run.key: [run.is_complete, _in_force(run), run.run_id, compared] for run in runs}


def _in_force(run: RunRecord) -> int:
    """Count the edits that were not taken back, in a record that may come from anybody."""
    return sum(isinstance(edit, Mapping) and edit.get("status") == DONE for edit in run.edits)


def _moved(ctx: ExecutionContext, runs: list[RunRecord]) -> list[object]:
    """Return what changes where only progress does."""
    found: list[object] = [work_of(ctx.dataset_name) is not None]
    for run in runs:
        if not run.is_complete:
            note = read_note(Path(run.out))
            found.append([run.key, _runs(ctx, run), note.at if note else 0.0])
    return found
