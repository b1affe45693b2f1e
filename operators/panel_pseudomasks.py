"""Panel "Pseudo-masks": runs, their classes, quality and timings; a click leads to the images."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from fiftyone_plugin import app_summary as summary

from .quick_label import color_scheme

__all__ = ["PseudoMasksPanel"]

NO_RUN = "No pseudo-masks yet: click the bolt above the grid to label these images."
PLOT_HEIGHT = 230


class PseudoMasksPanel(foo.Panel):
    """What :mod:`fiftyone_plugin.app_summary` says of the dataset's runs.

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
        self._refresh(ctx)

    def on_change_dataset(self, ctx: Any) -> None:
        """Start over with the runs of another dataset."""
        self._refresh(ctx)

    def choose_run(self, ctx: Any) -> None:
        """Show another run."""
        ctx.panel.state.run = ctx.params.get("value")
        self._refresh(ctx)

    def refresh(self, ctx: Any) -> None:
        """Read everything again."""
        self._refresh(ctx)

    def click_class(self, ctx: Any) -> None:
        """Show the images with the class of a row."""
        run = _chosen(ctx)
        names = ctx.panel.state.class_names or []
        row = ctx.params.get("row")
        if run and row is not None and int(row) < len(names):
            _show(ctx, run, summary.class_view(ctx.dataset, run.field, names[int(row)]))

    def click_bar(self, ctx: Any) -> None:
        """Show the images that a bar counts."""
        run = _chosen(ctx)
        histogram = _histogram(ctx.dataset, run)
        bar = ctx.params.get("idx")
        if run and histogram and bar is not None and int(bar) < len(histogram.counts):
            _show(ctx, run, summary.bar_view(ctx.dataset, histogram, int(bar)))

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
        """Delete the run that was asked about: its fields, files and record."""
        from fiftyone_plugin.datasets import undo

        key = ctx.panel.state.confirm
        ctx.panel.state.confirm = None
        if not key or not ctx.dataset.has_run(key):
            ctx.ops.notify("This run is gone already", variant="warning")
        else:
            undo(ctx.dataset, key)
            ctx.panel.state.run = None
            ctx.ops.notify(f"Run {key!r} is deleted, with its fields and files", variant="success")
            ctx.ops.clear_view()  # it may filter by a field that is gone
            ctx.ops.reload_dataset()
        self._refresh(ctx)

    def _refresh(self, ctx: Any) -> None:
        run = _chosen(ctx)
        ctx.panel.state.run = run.key if run else None
        ctx.panel.state.confirm = None
        rows = summary.class_rows(ctx.dataset, run.field) if run else []
        ctx.panel.state.class_names = [row.name for row in rows]
        ctx.panel.data.classes = [_class_row(row) for row in rows]
        ctx.panel.data.settings = (
            [{"name": name, "value": value} for name, value in summary.setting_rows(run)] if run else []
        )
        histogram = _histogram(ctx.dataset, run)
        ctx.panel.data.scores = _bars(histogram) if histogram else []
        ctx.panel.data.seconds = _stages(run) if run else []

    # ------------------------------------------------------------------ layout

    def render(self, ctx: Any) -> Any:
        """Lay the panel out for the chosen run."""
        panel = types.Object()
        view = types.GridView(align_x="left", gap=2, padding=1, orientation="vertical")
        runs = summary.list_runs(ctx.dataset) if ctx.dataset else []
        run = _chosen(ctx, runs)
        if run is None:
            panel.message("none", NO_RUN)
            return types.Property(panel, view=view)
        self._head(ctx, panel, runs, run)
        rows = [("name", "Class"), ("ids", "Ids"), ("images", "Images"), ("share", "Share of images")]
        _table(panel, "classes", "Classes (a click shows the images)", rows, on_click_row=self.click_class)
        score = summary.score_field(ctx.dataset, run.field)
        if score:
            panel.plot(
                "scores",
                layout=_layout(f"{score} (a click shows the images)", "images"),
                config={"displayModeBar": False},
                on_click=self.click_bar,
            )
        panel.plot("seconds", layout=_layout("Stages, seconds", None), config={"displayModeBar": False})
        _table(panel, "settings", "Settings", [("name", "Setting"), ("value", "Value")])
        return types.Property(panel, view=view)

    def _head(self, ctx: Any, panel: Any, runs: list[Any], run: Any) -> None:
        choices = types.DropdownView()
        for each in runs:
            choices.add_choice(each.key, label=each.title)
        panel.enum(
            "run", choices.values(), default=run.key, label="Run", view=choices, on_change=self.choose_run
        )
        buttons = panel.h_stack("buttons", gap=2, align_y="center")
        if ctx.panel.state.confirm == run.key:
            warning = f"Delete run {run.key!r}: its fields and mask files go, nothing else does."
            if run.status != "complete":
                warning += " It is not complete: make sure that it is not still at work."
            panel.view("sure", types.Warning(label="Delete this run?", description=warning))
            buttons.btn("delete", label="Delete it", on_click=self.delete, variant="contained", color="error")
            buttons.btn("keep", label="Keep it", on_click=self.keep, variant="outlined")
            return
        buttons.btn("rename", label="Rename classes", on_click=self.rename, variant="outlined")
        buttons.btn("show_all", label="Show all images", on_click=self.show_all, variant="outlined")
        buttons.btn("refresh", label="Refresh", on_click=self.refresh, variant="outlined")
        buttons.btn("ask_delete", label="Delete this run", on_click=self.ask_delete, variant="outlined")


def _chosen(ctx: Any, runs: list[Any] | None = None) -> Any:
    """Return the run that the state names, else the newest, else ``None``."""
    if runs is None:
        runs = summary.list_runs(ctx.dataset) if ctx.dataset else []
    key = ctx.panel.state.run
    return next((run for run in runs if run.key == key), runs[0] if runs else None)


def _show(ctx: Any, run: Any, view: Any) -> None:
    """Set the view of the grid, with the masks of the run switched on and their classes told apart."""
    ctx.ops.set_view(view)
    ctx.ops.set_active_fields([run.field])
    ids = summary.ids_by_name(ctx.dataset.mask_targets.get(run.field) or {}).values()
    ctx.trigger("set_color_scheme", color_scheme(sorted(id_ for group in ids for id_ in group)))


def _histogram(dataset: Any, run: Any) -> Any:
    from fiftyone_plugin.errors import UsageError

    path = summary.score_field(dataset, run.field) if run else None
    try:
        return summary.score_histogram(dataset, path) if path else None
    except UsageError:
        return None  # no image is labelled yet


def _class_row(row: Any) -> dict[str, Any]:
    ids = ", ".join(map(str, row.ids))
    return {"name": row.name, "ids": ids, "images": row.images, "share": f"{row.share:.0%}"}


def _bars(histogram: Any) -> list[dict[str, Any]]:
    edges = histogram.edges
    centres = [(low + high) / 2 for low, high in pairwise(edges)]
    return [{"type": "bar", "x": centres, "y": list(histogram.counts), "name": histogram.path}]


def _stages(run: Any) -> list[dict[str, Any]]:
    seconds = summary.stage_seconds(run)
    names, values = list(seconds)[::-1], list(seconds.values())[::-1]
    return [{"type": "bar", "orientation": "h", "x": values, "y": names, "name": "seconds"}]


def _layout(title: str, count: str | None) -> dict[str, Any]:
    return {
        "title": {"text": title, "font": {"size": 14}},
        "height": PLOT_HEIGHT,
        "margin": {"l": 120 if count is None else 50, "r": 20, "t": 40, "b": 40},
        "yaxis": {"title": {"text": count}} if count else {},
        "bargap": 0.05,
    }


def _table(panel: Any, key: str, label: str, columns: list[tuple[str, str]], **events: Any) -> None:
    view = types.TableView(**events)
    for name, text in columns:
        view.add_column(name, label=text)
    panel.list(key, types.Object(), label=label, view=view)
