"""The part of the panel "Pseudo-masks" that compares the chosen run with another one."""

from __future__ import annotations

import fiftyone as fo
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.common.skipped import Skipped
from fiftyone_plugin.common.text import plain_markdown
from fiftyone_plugin.dataset import summary
from fiftyone_plugin.dataset.comparison import (
    StoredComparison,
    disagreement_view,
    list_comparisons,
    match_view,
    undo_comparison,
)
from fiftyone_plugin.dataset.overlays import DIFFERENCE
from fiftyone_plugin.dataset.record import RunRecord

from ..forms.fields import first_reasons, show_name
from ..running import read_again
from . import parts
from .guard import GuardedPanel, row_of, text_of

__all__ = ["ComparisonSection"]

PAIRS = 20  # of classes, those that agree least


class ComparisonSection(GuardedPanel):
    """Events and layout of the comparison; a part of the panel, whose state and hooks it shares."""

    def choose_other(self, ctx: ExecutionContext) -> None:
        """Take another run to compare with."""
        ctx.panel.state.other = text_of(ctx.params.get("value"))
        self.refresh(ctx)

    def compare(self, ctx: ExecutionContext) -> None:
        """Open the form that compares the two runs."""
        run, other = _pair(ctx)
        if run and other:
            self._prompt(ctx, "compare_runs", {"a": run.field, "b": other.field}, self.refresh)

    def draw_difference(self, ctx: ExecutionContext) -> None:
        """Open the form that draws where the two runs differ."""
        run, other = _pair(ctx)
        if run and other:
            params = {"field": run.field, "kind": DIFFERENCE, "other": other.field, "view_target": "DATASET"}
            self._prompt(ctx, "add_overlay", params, self.refresh)

    def show_disagreement(self, ctx: ExecutionContext) -> None:
        """Show the images in which the two runs differ most."""
        run, stored = _stored(ctx)
        if run and stored:
            parts.show(ctx, run, stored.view or disagreement_view(ctx.dataset, stored))

    def click_pair(self, ctx: ExecutionContext) -> None:
        """Show the images with two matched classes, where the runs differ most first."""
        run, stored = _stored(ctx)
        row = row_of(ctx.params.get("row"), stored.classes if stored else ())
        if run and stored and row is not None:
            parts.show(ctx, run, match_view(ctx.dataset, stored, row))

    def click_agreement(self, ctx: ExecutionContext) -> None:
        """Show the images that a bar of agreement counts."""
        run, stored = _stored(ctx)
        parts.show_bar(ctx, run, parts.histogram(ctx.dataset, stored.field) if stored else None)

    def forget_comparison(self, ctx: ExecutionContext) -> None:
        """Delete the comparison: its field, saved view and record."""
        _, stored = _stored(ctx)
        if stored:
            undo_comparison(ctx.dataset, stored.key)
            ctx.ops.notify(f"The comparison of {stored.a!r} and {stored.b!r} is deleted", variant="success")
            read_again(ctx)
        self.refresh(ctx)

    def comparison_data(self, ctx: ExecutionContext) -> dict[str, parts.Rows]:
        """Return the table and the plot of the comparison."""
        _, stored = _stored(ctx)
        found = parts.histogram(ctx.dataset, stored.field) if stored else None
        return {
            "agreement": parts.bars(found) if found else [],
            "pairs": _rows(ctx.dataset, stored) if stored else [],
        }

    def render_comparison(self, ctx: ExecutionContext, panel: types.Object, runs: list[RunRecord]) -> None:
        """Lay the comparison out, where there are two finished runs."""
        run, other = _pair(ctx, runs)
        if run is None or other is None:
            return
        view = types.DropdownView(label="Compare with")
        parts.choose_run(panel, "other", _others(run, runs), other, self.choose_other, view)
        _, stored = _stored(ctx, runs)
        head = parts.flow(panel, "compare_head")
        parts.button(head, "compare", "Compare again" if stored else "Compare", self.compare)
        if stored is None:
            return
        parts.button(head, "overlay", "Show where, in a field", self.draw_difference)
        parts.button(head, "disagreement", "Where they differ", self.show_disagreement)
        parts.button(head, "forget", "Delete comparison", self.forget_comparison)
        panel.md(_sentence(stored), name="compare_text")
        parts.plot(
            panel,
            parts.sized(ctx, "agreement"),
            f"{stored.field} (a click shows the images)",
            y="images",
            on_click=self.click_agreement,
        )
        columns = [("a", stored.a), ("b", stored.b), ("iou", "IoU")]
        parts.table(
            panel, parts.sized(ctx, "pairs"), "Classes that agree least (a click shows the images)", columns,
            on_click_row=self.click_pair,
        )  # fmt: skip


def _pair(
    ctx: ExecutionContext, runs: list[RunRecord] | None = None
) -> tuple[RunRecord | None, RunRecord | None]:
    """Return the chosen run and the one to compare it with; ``None`` for what there is not."""
    runs = parts.runs_of(ctx) if runs is None else runs
    run = parts.chosen(ctx, runs)
    if run is None or not run.is_complete:
        return None, None
    return run, summary.choose_run(_others(run, runs), ctx.panel.state.other)


def _others(run: RunRecord, runs: list[RunRecord]) -> list[RunRecord]:
    return [each for each in runs if each.key != run.key and each.is_complete]


def _stored(
    ctx: ExecutionContext, runs: list[RunRecord] | None = None
) -> tuple[RunRecord | None, StoredComparison | None]:
    """Return the chosen run and its stored comparison with the other one."""
    run, other = _pair(ctx, runs)
    if run is None or other is None:
        return None, None
    fields = {run.field, other.field}
    found = (each for each in list_comparisons(ctx.dataset, run.field) if {each.a, each.b} == fields)
    return run, next(found, None)


def _sentence(stored: StoredComparison) -> str:
    text = (
        f"**{stored.agreement:.1%}** of the pixels have matching classes. Adjusted Rand index "
        f"{stored.ari:.2f}, mutual information {stored.nmi:.2f}; {stored.images} images."
    )
    if stored.left_out:
        reasons = first_reasons([Skipped(*each) for each in stored.reasons.items()])
        text += f" {stored.left_out} could not be compared: {plain_markdown(reasons)}."
    return text


def _rows(dataset: fo.Dataset, stored: StoredComparison) -> parts.Rows:
    names = {field: dataset.mask_targets.get(field) or {} for field in (stored.a, stored.b)}

    def name(field: str, id_: int | None) -> str:
        return "-" if id_ is None else show_name(str(names[field].get(id_, f"id {id_}")))

    return [
        {"a": name(stored.a, row.a), "b": name(stored.b, row.b), "iou": f"{row.iou:.2f}"}
        for row in stored.classes[:PAIRS]
    ]
