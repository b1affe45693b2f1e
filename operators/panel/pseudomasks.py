"""Panel "Pseudo-masks": runs, their classes, quality and timings; a click leads to the images."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.operators import types

from fiftyone_plugin.common.text import printable, shorten
from fiftyone_plugin.dataset import summary
from fiftyone_plugin.dataset.record import RunRecord, list_runs

from ..forms.fields import show_text
from ..running import read_again
from . import parts
from .accepting import AcceptSection
from .classes import ClassSection, class_row
from .comparison import ComparisonSection
from .guard import GuardedPanel, row_of, text_of
from .header import HeaderSection
from .naming import NamingSection
from .undoing import UndoSection
from .unfinished import UnfinishedSection

__all__ = ["PseudoMasksPanel"]

REASON = 300  # characters of what is told of files that stay


class PseudoMasksPanel(
    HeaderSection,
    ClassSection,
    AcceptSection,
    ComparisonSection,
    NamingSection,
    UndoSection,
    UnfinishedSection,
    GuardedPanel,
):
    """What :mod:`fiftyone_plugin.dataset.summary` says of the dataset's runs.

    Several hooks may be called at once with an empty state after the panel opens, so every value that is read
    from the state has a default.
    """

    leave_for = ("delete", "forget_comparison")

    @property
    def config(self) -> Any:
        """How the App lists the panel."""
        return foo.PanelConfig(
            name="pseudomasks",
            label="Pseudo-masks",
            icon="auto_awesome",
            category=foo.Categories.CURATE,
            surfaces="grid",
            help_markdown="Runs of pseudo-masks: settings, classes, quality, timings",
        )

    # ------------------------------------------------------------------ events

    def on_load(self, ctx: foo.ExecutionContext) -> None:
        """Fill the plots of the newest run."""
        self.refresh(ctx)

    def on_change_dataset(self, ctx: foo.ExecutionContext) -> None:
        """Start over with the runs of another dataset."""
        ctx.panel.state.stamp = None
        self.refresh(ctx)

    def choose_run(self, ctx: foo.ExecutionContext) -> None:
        """Show another run."""
        ctx.panel.state.run = text_of(ctx.params.get("value"))
        ctx.panel.state.stamp = None  # even where a run has begun since
        self.refresh(ctx)

    def click_bar(self, ctx: foo.ExecutionContext) -> None:
        """Show the images that a bar counts."""
        run = _chosen(ctx)
        found = _histogram(ctx.dataset, run)
        bar = row_of(ctx.params.get("idx"), found.counts if found else ())
        if run and found and bar is not None:
            parts.show(ctx, run, summary.bar_view(ctx.dataset, found, bar))

    def show_saved(self, ctx: foo.ExecutionContext) -> None:
        """Open a saved view of the run."""
        run, name = _chosen(ctx), ctx.params.get("name")
        if run and isinstance(name, str) and ctx.dataset.has_saved_view(name):
            parts.show(ctx, run, name)
        else:
            ctx.ops.notify("This view is gone: renew the saved views", variant="warning")

    def ask_delete(self, ctx: foo.ExecutionContext) -> None:
        """Ask before a run is deleted."""
        run = _chosen(ctx)
        ctx.panel.state.confirm = run.key if run else None

    def keep(self, ctx: foo.ExecutionContext) -> None:
        """Delete nothing."""
        ctx.panel.state.confirm = None

    def delete(self, ctx: foo.ExecutionContext) -> None:
        """Delete the run that was asked about: its fields, files, views and record."""
        from fiftyone_plugin.dataset.labelling import undo

        key = ctx.panel.state.confirm
        ctx.panel.state.confirm = None
        if not isinstance(key, str) or not ctx.dataset.has_run(key):
            ctx.ops.notify("This run is gone already", variant="warning")
        else:
            kept = undo(ctx.dataset, key).kept
            ctx.panel.state.run = None
            left = f", but {shorten('; '.join(kept), REASON)}" if kept else ", with its fields and files"
            ctx.ops.notify(f"Run {key!r} is deleted{left}", variant="warning" if kept else "success")
            read_again(ctx)
        self.refresh(ctx)

    def refresh(self, ctx: foo.ExecutionContext) -> None:
        """Read everything again.

        State and data are sent whole, in a message each.
        """
        runs = list_runs(ctx.dataset) if ctx.dataset else []
        self.turn_to_new(ctx, runs)
        run = _chosen(ctx, runs)
        with ThreadPoolExecutor() as pool:  # the database looks at all samples for each
            table, scores = pool.submit(self.class_rows, ctx, run), pool.submit(_histogram, ctx.dataset, run)
            compared = self.comparison_data(ctx)
        rows, found = table.result(), scores.result()
        state: dict[str, Any] = {
            "run": run.key if run else None,
            "other": text_of(ctx.panel.state.other),
            "confirm": None,
            "more": ctx.panel.state.more is True,
            "details": ctx.panel.state.details is True,
            **self.class_state(ctx, rows),
            **self.accepting_state(ctx, run, found),
            **self.watch_state(ctx, runs),
        }
        settings = summary.setting_rows(run) if run else []
        lists = {
            "classes": [class_row(row) for row in rows],
            "settings": [{"name": name, "value": printable(value)} for name, value in settings],
            "scores": parts.bars(found) if found else [],
            "seconds": parts.stage_bars(run) if run else [],
            **compared,
        }
        state["sizes"] = {name: parts.size_of(rows) for name, rows in lists.items()}
        ctx.panel_state.clear()
        ctx.panel_state.update(state)  # of which the layout is made next
        ctx.ops.set_panel_state(state)
        ctx.ops.set_panel_data({parts.sized(ctx, name): rows for name, rows in lists.items()})

    # ------------------------------------------------------------------ layout

    def render(self, ctx: foo.ExecutionContext) -> Any:
        """Lay the panel out for the chosen run."""
        panel = types.Object()
        view = types.GridView(align_x="left", gap=2, pad_x=1, pad_b=2, orientation="vertical")
        runs = list_runs(ctx.dataset) if ctx.dataset else []
        run = _chosen(ctx, runs)
        if self.render_naming(ctx, panel):
            return show_text(types.Property(panel, view=view))
        self.render_watch(ctx, panel, runs)
        if run is None:
            self.render_no_run(ctx, panel)
        else:
            self.render_head(ctx, panel, runs, run)
            if run.is_complete:
                self._results(ctx, panel, runs, run)
            else:
                self.render_unfinished(ctx, panel, run)
        return show_text(types.Property(panel, view=view))

    def _results(
        self, ctx: foo.ExecutionContext, panel: types.Object, runs: list[RunRecord], run: RunRecord
    ) -> None:
        if ctx.panel.state.details is True:
            stages = parts.sizes(ctx).get("seconds", 0)
            parts.plot(panel, parts.sized(ctx, "seconds"), "Stages, seconds", bars=stages)
            columns = [("name", "Setting"), ("value", "Value")]
            parts.table(panel, parts.sized(ctx, "settings"), "Settings", columns)
        row = parts.flow(panel, "grid")
        row.md("Classes (a click shows the images, a second one all)", name="hint", **parts.ITEM)
        parts.button(row, "show_all", "Show all images", self.show_all)
        self.render_classes(ctx, panel, run)
        score = summary.score_field(ctx.dataset, run.field)
        if score:
            title = f"{score} (a click shows the images)"
            parts.plot(panel, parts.sized(ctx, "scores"), title, y="images", on_click=self.click_bar)
            self.render_accepting(ctx, panel)
        self.render_comparison(ctx, panel, runs)


def _chosen(ctx: foo.ExecutionContext, runs: list[RunRecord] | None = None) -> RunRecord | None:
    """Return the run that the state names, else the newest, else ``None``."""
    if runs is None:
        runs = list_runs(ctx.dataset) if ctx.dataset else []
    return summary.choose_run(runs, ctx.panel.state.run)


def _histogram(dataset: fo.Dataset, run: RunRecord | None) -> summary.Histogram | None:
    return parts.histogram(dataset, summary.score_field(dataset, run.field)) if run else None
