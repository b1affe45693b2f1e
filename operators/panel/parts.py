"""What the panel "Pseudo-masks" is made of: rows of tables, bars of plots, and their layout."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.common.text import plain_plot_label, shorten
from fiftyone_plugin.common.untrusted import read_bytes
from fiftyone_plugin.dataset import summary
from fiftyone_plugin.dataset.record import RunRecord, list_runs
from fiftyone_plugin.errors import UsageError

from ..forms.fields import show_name
from ..running import show_colours
from .guard import Event, row_of

__all__ = [
    "ITEM",
    "Rows",
    "bars",
    "button",
    "choose_run",
    "chosen",
    "flow",
    "histogram",
    "picture_uri",
    "plot",
    "runs_of",
    "send_state",
    "show",
    "show_bar",
    "size_of",
    "sized",
    "sizes",
    "stage_bars",
    "table",
]

PLOT_HEIGHT = 180
LABEL_LENGTH = 40  # characters
BAR_HEIGHT = 22  # of a class or a stage
MOST_BYTES = 2 << 20  # of a picture
Rows = list[dict[str, Any]]
"""Rows of a table of the App, or traces of a plot of Plotly's."""
ITEM = {"componentsProps": {"item": {"sx": {"width": "auto"}}}}
"""What a part of a :func:`flow` is made with, to be as wide as it is."""


def show(ctx: ExecutionContext, run: RunRecord, view: foc.SampleCollection | str) -> None:
    """Show a view, or the saved one of a name, with the masks of a run switched on and coloured by class."""
    if isinstance(view, str):
        ctx.ops.set_view(name=view)
    else:
        ctx.ops.set_view(view)
    ctx.ops.set_active_fields([run.field])
    show_colours(ctx)


def runs_of(ctx: ExecutionContext) -> list[RunRecord]:
    """Return the runs of the dataset, newest first; none where no dataset is open."""
    return list_runs(ctx.dataset) if ctx.dataset else []


def chosen(ctx: ExecutionContext, runs: list[RunRecord] | None = None) -> RunRecord | None:
    """Return the run that the state names, else the newest, else ``None``."""
    return summary.choose_run(runs_of(ctx) if runs is None else runs, ctx.panel.state.run)


def send_state(ctx: ExecutionContext, state: dict[str, object]) -> None:
    """Send the whole state, of which the layout is made next."""
    ctx.panel_state.clear()
    ctx.panel_state.update(state)
    ctx.ops.set_panel_state(state)


def choose_run(
    panel: types.Object, name: str, runs: list[RunRecord], run: RunRecord, event: Event, view: types.Dropdown
) -> None:
    """Add a drop-down list of runs, of which one is chosen."""
    for each in runs:
        view.add_choice(each.key, label=show_name(each.title))
    panel.enum(name, view.values(), default=run.key, view=view, on_change=event)


def show_bar(ctx: ExecutionContext, run: RunRecord | None, found: summary.Histogram | None) -> None:
    """Show the images that the bar of an event counts."""
    bar = row_of(ctx.params.get("idx"), found.counts if found else ())
    if run and found and bar is not None:
        show(ctx, run, summary.bar_view(ctx.dataset, found, bar))


def flow(panel: types.Object, name: str) -> types.Object:
    """Add a row that goes on in the next line where the panel is narrow."""
    row = types.Object()
    panel.define_property(name, row, view=types.GridView(orientation="2d", gap=1, align_y="center"))
    return row


def button(
    row: types.Object,
    name: str,
    label: str,
    event: Event,
    params: Mapping[str, object] | None = None,
    *,
    first: bool = False,
    **options: object,
) -> None:
    """Add a button to a flow; the ``first`` one is what is most likely wanted next."""
    variant = "contained" if first else "outlined"
    row.btn(name, label=label, on_click=event, params=params, variant=variant, **ITEM, **options)


def histogram(dataset: fo.Dataset, path: str | None) -> summary.Histogram | None:
    """Return the histogram of a score, ``None`` where there is no value."""
    try:
        return summary.score_histogram(dataset, path) if path and dataset.has_sample_field(path) else None
    except UsageError:
        return None  # no image is labelled yet


def bars(found: summary.Histogram) -> Rows:
    """Return the bars of a histogram for the plot."""
    centres = [(low + high) / 2 for low, high in pairwise(found.edges)]
    return [{"type": "bar", "x": centres, "y": list(found.counts), "name": plain_plot_label(found.path)}]


def stage_bars(run: RunRecord) -> Rows:
    """Return the seconds of a run's stages for the plot, longest on top."""
    seconds = summary.stage_seconds(run)
    names, values = _plot_labels(list(seconds)[::-1]), list(seconds.values())[::-1]
    return [{"type": "bar", "orientation": "h", "x": values, "y": names, "name": "seconds"}]


def _plot_labels(names: list[str]) -> list[str]:
    """Return labels of bars: names as text, cut to what fits; no two alike, as these would share a bar."""
    labels: list[str] = []
    for name in names:
        label, number = plain_plot_label(shorten(name, LABEL_LENGTH)), 2
        while label in labels:
            label, number = plain_plot_label(f"{shorten(name, LABEL_LENGTH)} ({number})"), number + 1
        labels.append(label)
    return labels


def picture_uri(path: Path) -> str | None:
    """Return a PNG of a run as a ``data:`` URI, ``None`` where there is none, or one too large to send."""
    try:
        data = read_bytes(path, what="a picture of a run", max_bytes=MOST_BYTES)
    except UsageError:
        return None
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def size_of(rows: Rows) -> int:
    """Return the number of rows of a table, or of bars of a plot."""
    return len(rows[0]["x"]) if rows and "x" in rows[0] else len(rows)


def sizes(ctx: ExecutionContext) -> dict[str, int]:
    """Return what the panel's state says of the sizes of tables and plots; it comes from the browser."""
    known = ctx.panel.state.sizes
    return {k: v for k, v in known.items() if type(v) is int} if isinstance(known, dict) else {}


def sized(ctx: ExecutionContext, name: str) -> str:
    """Return the key of a table or plot in the panel's data: another one for another number of rows.

    The App copies data into the state when an input of the panel changes, and shows both merged, row by row:
    under one key the last rows of a longer list would stay below a shorter one.
    """
    return f"{name}_{sizes(ctx).get(name, 0)}"


def plot(
    panel: types.Object, key: str, title: str, *, y: str | None = None, bars: int = 0, **events: Event
) -> None:
    """Add a plot of the bars that are in the panel's data under ``key``.

    ``y`` is the title of the vertical axis; ``None`` for horizontal bars, which have names on their left, and
    of which ``bars`` is the number.
    """
    layout = {
        "title": {"text": plain_plot_label(title), "font": {"size": 14}},
        "height": max(PLOT_HEIGHT, 90 + BAR_HEIGHT * bars),
        "margin": {"l": 120 if y is None else 50, "r": 20, "t": 40, "b": 40},
        "yaxis": {"title": {"text": y}} if y else {"type": "category"},
        "bargap": 0.05,
    }
    panel.plot(key, layout=layout, config={"displayModeBar": False}, **events)


def table(panel: types.Object, key: str, label: str, columns: list[tuple[str, str]], **events: Event) -> None:
    """Add a table, whose rows are in the panel's data under ``key``."""
    view = types.TableView(**events)
    for name, text in columns:
        view.add_column(name, label=text)
    panel.list(key, types.Object(), label=label, view=view)
