"""Panel "Pseudo-masks": runs, their classes, quality and timings; a click leads to the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from fiftyone_plugin.common.text import plain_markdown, printable, shorten
from fiftyone_plugin.dataset import summary
from fiftyone_plugin.dataset.record import RunRecord, list_runs
from fiftyone_plugin.dataset.views import list_views

from ..forms.fields import show_name, show_text
from . import parts
from .accepting import AcceptSection
from .comparison import ComparisonSection
from .edits import EditSection
from .guard import GuardedPanel, row_of, text_of
from .naming import NamingSection
from .unfinished import UnfinishedSection

__all__ = ["PseudoMasksPanel"]

REASON = 300  # characters of what is told of files that stay
NO_RUN = "No pseudo-masks yet: click the bolt above the grid to label these images."


class PseudoMasksPanel(
    AcceptSection, ComparisonSection, EditSection, NamingSection, UnfinishedSection, GuardedPanel
):
    """What :mod:`fiftyone_plugin.dataset.summary` says of the dataset's runs.

    Several hooks may be called at once with an empty state after the panel opens, so every value that is read
    from the state has a default.
    """

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

    def on_load(self, ctx: Any) -> None:
        """Fill the plots of the newest run."""
        self.refresh(ctx)

    def on_change_dataset(self, ctx: Any) -> None:
        """Start over with the runs of another dataset."""
        self.refresh(ctx)

    def choose_run(self, ctx: Any) -> None:
        """Show another run."""
        ctx.panel.state.run = text_of(ctx.params.get("value"))
        self.refresh(ctx)

    def click_class(self, ctx: Any) -> None:
        """Show the images with the class of a row."""
        self._show_class(ctx, _row_name(ctx.panel.state.class_names, ctx.params.get("row")))

    def click_strip(self, ctx: Any) -> None:
        """Show the images with the class of a strip of crops."""
        self.click_class(ctx)

    def click_area(self, ctx: Any) -> None:
        """Show the images with the class of a bar."""
        self._show_class(ctx, _row_name(ctx.panel.state.area_names, ctx.params.get("idx")))

    def _show_class(self, ctx: Any, name: str | None) -> None:
        run = _chosen(ctx)
        if run and name is not None:
            parts.show(ctx, run, summary.class_view(ctx.dataset, run.field, name))

    def click_bar(self, ctx: Any) -> None:
        """Show the images that a bar counts."""
        run = _chosen(ctx)
        found = _histogram(ctx.dataset, run)
        bar = row_of(ctx.params.get("idx"), found.counts if found else ())
        if run and found and bar is not None:
            parts.show(ctx, run, summary.bar_view(ctx.dataset, found, bar))

    def show_saved(self, ctx: Any) -> None:
        """Open a saved view of the run."""
        run, name = _chosen(ctx), ctx.params.get("name")
        if run and isinstance(name, str) and ctx.dataset.has_saved_view(name):
            parts.show(ctx, run, name)
        else:
            ctx.ops.notify("This view is gone: renew the saved views", variant="warning")

    def create_views(self, ctx: Any) -> None:
        """Save the views of the run anew."""
        from fiftyone_plugin.dataset.labelling import create_views

        run = _chosen(ctx)
        if run and run.is_complete:
            names = create_views(ctx.dataset, run.key)
            ctx.ops.reload_dataset()
            ctx.ops.notify(f"Saved views: {', '.join(names.values()) or 'none'}", variant="success")
        self.refresh(ctx)

    def show_all(self, ctx: Any) -> None:
        """Leave the view that a click has set."""
        ctx.ops.clear_view()

    def rename(self, ctx: Any) -> None:
        """Open the form for the names of the classes."""
        run = _chosen(ctx)
        if run:
            uri = f"{self.plugin_name}/rename_classes"
            ctx.prompt(uri, params={"field": run.field}, on_success=self.refresh)

    def ask_delete(self, ctx: Any) -> None:
        """Ask before a run is deleted."""
        run = _chosen(ctx)
        ctx.panel.state.confirm = run.key if run else None

    def keep(self, ctx: Any) -> None:
        """Delete nothing."""
        ctx.panel.state.confirm = None

    def delete(self, ctx: Any) -> None:
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
            ctx.ops.clear_view()  # it may filter by a field that is gone
            ctx.ops.reload_dataset()
        self.refresh(ctx)

    def refresh(self, ctx: Any) -> None:
        """Read everything again.

        State and data are sent whole, in a message each.
        """
        run = _chosen(ctx)
        rows = summary.class_rows(ctx.dataset, run.field, run.areas) if run else []
        strips = parts.strips(rows, Path(run.out)) if run else []
        state: dict[str, Any] = {
            "run": run.key if run else None,
            "other": text_of(ctx.panel.state.other),
            "confirm": None,
            "class_names": [row.name for row in rows],
            "area_names": [row.name for row in parts.area_classes(rows)],
            **self.accepting_state(ctx, run),
            "strips": [{key: strip[key] for key in ("row", "name", "images")} for strip in strips],
        }
        found = _histogram(ctx.dataset, run)
        settings = summary.setting_rows(run) if run else []
        lists = {
            "classes": [parts.class_row(row) for row in rows],
            "areas": parts.area_bars(rows),
            "settings": [{"name": name, "value": printable(value)} for name, value in settings],
            "scores": parts.bars(found) if found else [],
            "seconds": parts.stage_bars(run) if run else [],
            **self.comparison_data(ctx),
        }
        state["sizes"] = {name: parts.size_of(rows) for name, rows in lists.items()}
        ctx.panel_state.clear()
        ctx.panel_state.update(state)  # of which the layout is made next
        ctx.ops.set_panel_state(state)
        data: dict[str, Any] = {parts.sized(ctx, name): rows for name, rows in lists.items()}
        # pictures are data: the state travels with every event
        data |= {f"strip_{number}": {"picture": strip["uri"]} for number, strip in enumerate(strips)}
        ctx.ops.set_panel_data(data)

    # ------------------------------------------------------------------ layout

    def render(self, ctx: Any) -> Any:
        """Lay the panel out for the chosen run."""
        panel = types.Object()
        view = types.GridView(align_x="left", gap=2, padding=1, orientation="vertical")
        if self.render_naming(ctx, panel):
            return show_text(types.Property(panel, view=view))
        runs = list_runs(ctx.dataset) if ctx.dataset else []
        run = _chosen(ctx, runs)
        if run is None:
            panel.message("none", NO_RUN)
            return types.Property(panel, view=view)
        self._head(ctx, panel, runs, run)
        if not run.is_complete:
            self.render_unfinished(panel, run)
            return show_text(types.Property(panel, view=view))
        self._views(ctx, panel, run)
        self._classes(ctx, panel)
        self.render_edits(panel, run)
        score = summary.score_field(ctx.dataset, run.field)
        if score:
            title = f"{score} (a click shows the images)"
            parts.plot(panel, parts.sized(ctx, "scores"), title, y="images", on_click=self.click_bar)
            self.render_accepting(ctx, panel)
        self.render_comparison(ctx, panel, runs)
        stages = parts.sizes(ctx).get("seconds", 0)
        parts.plot(panel, parts.sized(ctx, "seconds"), "Stages, seconds", bars=stages)
        columns = [("name", "Setting"), ("value", "Value")]
        parts.table(panel, parts.sized(ctx, "settings"), "Settings", columns)
        return show_text(types.Property(panel, view=view))

    def _views(self, ctx: Any, panel: Any, run: RunRecord) -> None:
        """Offer the saved views of the run, or to make them."""
        row = panel.h_stack("views", gap=2, align_y="center")
        own = list_views(ctx.dataset, run.key)
        for number, each in enumerate(own):
            row.btn(
                f"view_{number}",
                label=show_name(each.purpose.capitalize()),
                on_click=self.show_saved,
                params={"name": each.name},
                variant="contained",
            )
        label = "Renew saved views" if own else "Save views to review"
        row.btn("create_views", label=label, on_click=self.create_views, variant="outlined")

    def _classes(self, ctx: Any, panel: Any) -> None:
        columns = [
            ("name", "Class"),
            ("ids", "Ids"),
            ("images", "Images"),
            ("share", "Share of images"),
            ("area", "Share of area"),
        ]
        title = "Classes (a click shows the images)"
        parts.table(panel, parts.sized(ctx, "classes"), title, columns, on_click_row=self.click_class)
        for number, strip in enumerate(_strips(ctx.panel.state.strips)):
            row = panel.h_stack(f"strip_{number}", gap=2, align_y="center")
            row.img(
                "picture",
                height="72px",
                alt_text=f"Crops of {strip['name']}",
                on_click=self.click_strip,
                params={"row": strip["row"]},
            )
            row.md(f"**{plain_markdown(strip['name'])}**, {strip['images']}", name="caption")
        areas = ctx.panel.state.area_names
        if isinstance(areas, list) and areas:
            title = "Area of classes, % of all pixels (a click shows the images)"
            parts.plot(panel, parts.sized(ctx, "areas"), title, bars=len(areas), on_click=self.click_area)

    def _head(self, ctx: Any, panel: Any, runs: list[RunRecord], run: RunRecord) -> None:
        choices = types.DropdownView()
        for each in runs:
            choices.add_choice(each.key, label=show_name(each.title))
        panel.enum(
            "run", choices.values(), default=run.key, label="Run", view=choices, on_change=self.choose_run
        )
        buttons = panel.h_stack("buttons", gap=2, align_y="center")
        if ctx.panel.state.confirm == run.key:
            warning = (
                f"Delete run {run.key!r}: its fields and mask files go, with its saved views and "
                "comparisons. Files that other fields or datasets show stay."
            )
            if not run.is_complete:
                warning += " It is not complete: make sure that it is not still at work."
            panel.view("sure", types.Warning(label="Delete this run?", description=warning))
            buttons.btn("delete", label="Delete it", on_click=self.delete, variant="contained", color="error")
            buttons.btn("keep", label="Keep it", on_click=self.keep, variant="outlined")
            return
        if run.is_complete:
            buttons.btn("name", label="Name classes", on_click=self.start_naming, variant="contained")
            buttons.btn("rename", label="Rename classes", on_click=self.rename, variant="outlined")
        buttons.btn("show_all", label="Show all images", on_click=self.show_all, variant="outlined")
        buttons.btn("refresh", label="Refresh", on_click=self.refresh, variant="outlined")
        buttons.btn("ask_delete", label="Delete this run", on_click=self.ask_delete, variant="outlined")


def _chosen(ctx: Any, runs: list[RunRecord] | None = None) -> RunRecord | None:
    """Return the run that the state names, else the newest, else ``None``."""
    if runs is None:
        runs = list_runs(ctx.dataset) if ctx.dataset else []
    return summary.choose_run(runs, ctx.panel.state.run)


def _histogram(dataset: Any, run: RunRecord | None) -> summary.Histogram | None:
    return parts.histogram(dataset, summary.score_field(dataset, run.field)) if run else None


def _row_name(names: Any, number: Any) -> str | None:
    """Return the name in a row that an event speaks of, which may be of an earlier state."""
    row = row_of(number, names)
    return None if row is None else str(names[row])


def _strips(strips: Any) -> list[dict[str, Any]]:
    """Return the strips of the panel's state, which comes from the browser."""
    wanted, listed = {"row", "name", "images"}, strips if isinstance(strips, list) else []
    return [strip for strip in listed if isinstance(strip, dict) and strip.keys() >= wanted]
