"""Panel "Pseudo-masks": runs, their classes, quality and timings; a click leads to the images."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.common.text import printable
from fiftyone_plugin.dataset import summary
from fiftyone_plugin.dataset.record import RunRecord

from ..forms.fields import show_text
from . import parts
from .accepting import AcceptSection
from .classes import ClassSection, class_row
from .comparison import ComparisonSection
from .guard import text_of
from .header import HeaderSection
from .unfinished import UnfinishedSection

__all__ = ["PseudoMasksPanel"]


class PseudoMasksPanel(
    HeaderSection,
    ClassSection,
    AcceptSection,
    ComparisonSection,
    UnfinishedSection,
):
    """What :mod:`fiftyone_plugin.dataset.summary` says of the dataset's runs.

    Several hooks may be called at once with an empty state after the panel opens, so every value that is read
    from the state has a default.
    """

    leave_for = ("delete", "forget_comparison")

    @property
    def config(self) -> foo.PanelConfig:
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

    def on_load(self, ctx: ExecutionContext) -> None:
        """Fill the plots of the newest run."""
        self.refresh(ctx)

    def on_change_dataset(self, ctx: ExecutionContext) -> None:
        """Start over with the runs of another dataset."""
        ctx.panel.state.stamp = None
        self.refresh(ctx)

    def click_bar(self, ctx: ExecutionContext) -> None:
        """Show the images that a bar counts."""
        run = parts.chosen(ctx)
        parts.show_bar(ctx, run, _histogram(ctx.dataset, run))

    def refresh(self, ctx: ExecutionContext) -> None:
        """Read everything again.

        State and data are sent whole, in a message each.
        """
        runs = parts.runs_of(ctx)
        self.turn_to_new(ctx, runs)
        run = parts.chosen(ctx, runs)
        with ThreadPoolExecutor() as pool:  # the database looks at all samples for each
            table, scores = pool.submit(self.class_rows, ctx, run), pool.submit(_histogram, ctx.dataset, run)
            compared = self.comparison_data(ctx)
        rows, found = table.result(), scores.result()
        state: dict[str, object] = {
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
        lists: dict[str, parts.Rows] = {
            "classes": [class_row(row) for row in rows],
            "settings": [{"name": name, "value": printable(value)} for name, value in settings],
            "scores": parts.bars(found) if found else [],
            "seconds": parts.stage_bars(run) if run else [],
            **compared,
        }
        state["sizes"] = {name: parts.size_of(rows) for name, rows in lists.items()}
        parts.send_state(ctx, state)
        ctx.ops.set_panel_data({parts.sized(ctx, name): rows for name, rows in lists.items()})

    # ------------------------------------------------------------------ layout

    def render(self, ctx: ExecutionContext) -> types.Property:
        """Lay the panel out for the chosen run."""
        panel = types.Object()
        view = types.GridView(align_x="left", gap=2, pad_x=1, pad_b=2, orientation="vertical")
        runs = parts.runs_of(ctx)
        run = parts.chosen(ctx, runs)
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
        self, ctx: ExecutionContext, panel: types.Object, runs: list[RunRecord], run: RunRecord
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


def _histogram(dataset: fo.Dataset, run: RunRecord | None) -> summary.Histogram | None:
    return parts.histogram(dataset, summary.score_field(dataset, run.field)) if run else None
