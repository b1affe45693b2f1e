"""The part of the panel "Pseudo-masks" in which masks are accepted by their score, and exported."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.dataset import accepting
from fiftyone_plugin.dataset.accepting import ACCEPTED, TO_REVIEW
from fiftyone_plugin.dataset.record import RunRecord
from fiftyone_plugin.dataset.summary import Histogram, score_field

from ..params import finite
from . import parts
from .guard import GuardedPanel

__all__ = ["AcceptSection"]

ROUNDING = 0.001  # of the range of a slider


class AcceptSection(GuardedPanel):
    """A threshold, what it keeps, and what is done with that; a part of the panel, whose hooks it shares."""

    def move_threshold(self, ctx: ExecutionContext) -> None:
        """Take another threshold; the layout says what it keeps."""
        shown = _shown(ctx)
        value = finite(ctx.params.get("value"))
        if shown and value is not None:
            ctx.panel.state.set(_key(shown.run), value)

    def show_kept(self, ctx: ExecutionContext) -> None:
        """Show what the threshold keeps, highest score first."""
        if shown := _shown(ctx):
            kept = accepting.kept_view(ctx.dataset, shown.path, shown.threshold)
            parts.show(ctx, shown.run, kept.sort_by(shown.path, reverse=True))

    def show_left(self, ctx: ExecutionContext) -> None:
        """Show what the threshold leaves out, lowest score first."""
        if shown := _shown(ctx):
            left = accepting.kept_view(ctx.dataset, shown.path, shown.threshold, kept=False)
            parts.show(ctx, shown.run, left.sort_by(shown.path))

    def accept(self, ctx: ExecutionContext) -> None:
        """Tag what is kept, and what is to be reviewed."""
        if shown := _shown(ctx):
            done = accepting.accept(ctx.dataset, shown.run.field, shown.threshold)
            ctx.ops.reload_samples()
            text = f"Tagged {ACCEPTED!r}: {done.kept:,}; {TO_REVIEW!r}: {done.left:,}"
            ctx.ops.notify(text, variant="success")

    def take_tags_back(self, ctx: ExecutionContext) -> None:
        """Remove both tags from the images of the run."""
        if shown := _shown(ctx):
            accepting.take_back(ctx.dataset, shown.run.field)
            ctx.ops.reload_samples()
            ctx.ops.notify("The tags are taken back", variant="success")

    def export_accepted(self, ctx: ExecutionContext) -> None:
        """Open the form that exports the accepted images, of the whole dataset."""
        if shown := _shown(ctx):
            params = {"field": shown.run.field, "tag": ACCEPTED, "view_target": "DATASET"}
            self._prompt(ctx, "export_masks", params)

    def accepting_state(
        self, ctx: ExecutionContext, run: RunRecord | None, found: Histogram | None
    ) -> dict[str, object]:
        """Return what the state holds of a run: the range of its scores, and the threshold so far."""
        if run is None or not run.is_complete or found is None or len(found.counts) < 2:
            return {"scored": None}
        high = math.nextafter(found.edges[-1], -math.inf)  # the highest score
        threshold = _moved(ctx, run, found.edges[0], high)
        moved = {} if threshold is None else {_key(run): threshold}
        return {"scored": [found.path, found.edges[0], high], **moved}

    def render_accepting(self, ctx: ExecutionContext, panel: types.Object) -> None:
        """Lay the slider out, and what it keeps."""
        shown = _shown(ctx)
        if shown is None:
            return
        panel.float(
            _key(shown.run),
            default=(shown.low + shown.high) / 2,
            min=shown.low,
            max=shown.high,
            label="Accept",  # the App cuts a longer one off
            view=types.SliderView(),
            on_change=self.move_threshold,
        )
        counts = accepting.count_kept(ctx.dataset, shown.path, shown.threshold)
        total = counts.kept + counts.left
        text = f"From {shown.threshold:.3f} on **{counts.kept:,}** of {total:,} images are kept"
        expected = accepting.expected_iou(ctx.dataset, shown.run, shown.path, shown.threshold)
        text += f", expected mean IoU {expected:.2f}" if expected is not None else ""
        panel.md(text, name="kept")
        row, tagged = parts.flow(panel, "accepting"), accepting.is_tagged(ctx.dataset)
        parts.button(row, "accept", f"Tag {ACCEPTED} / {TO_REVIEW}", self.accept, first=not tagged)
        parts.button(row, "show_kept", "Show the kept", self.show_kept)
        parts.button(row, "show_left", "Show the others", self.show_left)
        if tagged:
            parts.button(row, "export_accepted", "Export the accepted", self.export_accepted, first=True)
            parts.button(row, "take_back", "Take the tags back", self.take_tags_back)


@dataclass(frozen=True)
class _Shown:
    """A run, the field of its score with the range of that, and the threshold."""

    run: RunRecord
    path: str
    low: float
    high: float
    threshold: float


def _key(run: RunRecord) -> str:
    """Return the name of the slider of a run: the App keeps the value of an input by its name."""
    return f"threshold_{run.field}"


def _moved(ctx: ExecutionContext, run: RunRecord, low: float, high: float) -> float | None:
    """Return where the slider of a run was moved to.

    Outside its range it was not: the App sends what the slider of the run before had when another one comes.
    It rounds, so that at an end it would leave out the image whose score that end is.
    """
    value, rounding = finite(ctx.panel.state.get(_key(run))), 0.01 * (high - low)
    if value is None or not low - rounding <= value <= high + rounding:
        return None
    if value - low < ROUNDING * (high - low):
        return low
    return high if high - value < ROUNDING * (high - low) else value


def _shown(ctx: ExecutionContext) -> _Shown | None:
    """Return what the panel's state says, which comes from the browser; ``None`` where it does not fit."""
    run = parts.chosen(ctx)
    scored = ctx.panel.state.scored
    if run is None or not isinstance(scored, list) or len(scored) != 3:
        return None
    path, low, high = scored[0], finite(scored[1]), finite(scored[2])
    if low is None or high is None or path != score_field(ctx.dataset, run.field):
        return None
    threshold = _moved(ctx, run, low, high)
    return _Shown(run, path, low, high, (low + high) / 2 if threshold is None else threshold)
