"""The part of the panel "Pseudo-masks" in which masks are accepted by their score, and exported."""

from __future__ import annotations

import math
from typing import Any

from fiftyone.operators import types

from fiftyone_plugin.dataset import accepting
from fiftyone_plugin.dataset.accepting import ACCEPTED, TO_REVIEW
from fiftyone_plugin.dataset.record import RunRecord, list_runs
from fiftyone_plugin.dataset.summary import choose_run, score_field

from . import parts

__all__ = ["AcceptSection"]


class AcceptSection:
    """A threshold, what it keeps, and what is done with that; a part of the panel, whose hooks it shares.

    What is shown is counted when something changes, and kept in the panel's state.
    """

    def move_threshold(self, ctx: Any) -> None:
        """Take another threshold, and count what it keeps."""
        run, shown = _shown(ctx)
        value = _number(ctx.params.get("value"))
        if run and shown and value is not None and value != shown["threshold"]:
            ctx.panel.state.accepting = self.accepting_state(ctx, run, value)

    def show_kept(self, ctx: Any) -> None:
        """Show what the threshold keeps, highest score first."""
        run, shown = _shown(ctx)
        if run and shown:
            kept = accepting.kept_view(ctx.dataset, shown["path"], shown["threshold"])
            parts.show(ctx, run, kept.sort_by(shown["path"], reverse=True))

    def show_left(self, ctx: Any) -> None:
        """Show what the threshold leaves out, lowest score first."""
        run, shown = _shown(ctx)
        if run and shown:
            left = accepting.kept_view(ctx.dataset, shown["path"], shown["threshold"], kept=False)
            parts.show(ctx, run, left.sort_by(shown["path"]))

    def accept(self, ctx: Any) -> None:
        """Tag what is kept, and what is to be reviewed."""
        run, shown = _shown(ctx)
        if run and shown:
            done = accepting.accept(ctx.dataset, run.field, shown["threshold"])
            ctx.ops.reload_dataset()
            text = f"{done.kept:,} images are tagged {ACCEPTED!r}, {done.left:,} {TO_REVIEW!r}"
            ctx.ops.notify(text, variant="success")
            ctx.panel.state.accepting = self.accepting_state(ctx, run, shown["threshold"])

    def take_tags_back(self, ctx: Any) -> None:
        """Remove both tags from the images of the run."""
        run, shown = _shown(ctx)
        if run and shown:
            accepting.take_back(ctx.dataset, run.field)
            ctx.ops.reload_dataset()
            ctx.ops.notify("The tags are taken back", variant="success")
            ctx.panel.state.accepting = self.accepting_state(ctx, run, shown["threshold"])

    def export_accepted(self, ctx: Any) -> None:
        """Open the form that exports the accepted images, of the whole dataset."""
        run, _ = _shown(ctx)
        if run:
            params = {"field": run.field, "tag": ACCEPTED, "view_target": "DATASET"}
            ctx.prompt(f"{self.plugin_name}/export_masks", params=params)  # type: ignore[attr-defined]

    def accepting_state(self, ctx: Any, run: RunRecord, threshold: float | None = None) -> Any:
        """Return what is shown of a run: its score, the threshold, what that keeps; ``None`` without a score.

        The threshold is given, or that of the state for the same run, or the middle of the scores.
        """
        path = score_field(ctx.dataset, run.field) if run.is_complete else None
        found = parts.histogram(ctx.dataset, path)
        if path is None or found is None or len(found.counts) < 2:
            return None
        low, high = found.edges[0], math.nextafter(found.edges[-1], -math.inf)  # the highest score
        if threshold is None:
            old = ctx.panel.state.accepting
            same = isinstance(old, dict) and old.get("path") == path
            threshold = _number(old.get("threshold")) if same else None
        threshold = (low + high) / 2 if threshold is None else threshold
        counts = accepting.count_kept(ctx.dataset, path, threshold)
        return {
            "path": path,
            "low": low,
            "high": high,
            "threshold": threshold,
            "kept": counts.kept,
            "left": counts.left,
            "expected": accepting.expected_iou(run, found, threshold),
            "tagged": bool({ACCEPTED, TO_REVIEW} & set(ctx.dataset.distinct("tags"))),
        }

    def render_accepting(self, ctx: Any, panel: Any) -> None:
        """Lay the slider out, and what it keeps."""
        run, shown = _shown(ctx)
        if run is None or shown is None:
            return
        panel.float(
            f"threshold_{run.field}",
            default=shown["threshold"],
            min=shown["low"],
            max=shown["high"],
            label="Accept",  # the App cuts a longer one off
            view=types.SliderView(),
            on_change=self.move_threshold,
        )
        total = shown["kept"] + shown["left"]
        text = (
            f"From a score of {shown['threshold']:.3f} on, **{shown['kept']:,}** of {total:,} images are kept"
        )
        text += f", expected mean IoU {shown['expected']:.2f}" if shown["expected"] is not None else ""
        panel.md(text, name="kept")
        row = panel.h_stack("accepting", gap=2, align_y="center")
        row.btn("accept", label=f"Tag {ACCEPTED} / {TO_REVIEW}", on_click=self.accept, variant="contained")
        row.btn("show_kept", label="Show the kept", on_click=self.show_kept, variant="outlined")
        row.btn("show_left", label="Show the others", on_click=self.show_left, variant="outlined")
        if shown["tagged"]:
            row = panel.h_stack("accepted", gap=2, align_y="center")
            label = "Export the accepted"
            row.btn("export_accepted", label=label, on_click=self.export_accepted, variant="contained")
            row.btn("take_back", label="Take the tags back", on_click=self.take_tags_back, variant="outlined")


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _shown(ctx: Any) -> tuple[RunRecord | None, dict[str, Any] | None]:
    """Return the run, and what the state holds of it, which comes from the browser."""
    run = choose_run(list_runs(ctx.dataset) if ctx.dataset else [], ctx.panel.state.run)
    shown = ctx.panel.state.accepting
    numbers = ("low", "high", "threshold", "kept", "left")
    if (
        run is None
        or not isinstance(shown, dict)
        or any(_number(shown.get(name)) is None for name in numbers)
    ):
        return None, None
    path = score_field(ctx.dataset, run.field)
    if path is None or shown.get("path") != path:
        return None, None
    expected = _number(shown.get("expected"))
    return run, {**shown, "expected": expected, "tagged": bool(shown.get("tagged"))}
