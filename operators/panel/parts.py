"""What the panel "Pseudo-masks" is made of: rows of tables, bars of plots, and their layout."""

from __future__ import annotations

import base64
from itertools import pairwise
from pathlib import Path
from typing import Any

from fiftyone.operators import types

from fiftyone_plugin.common.text import plain_plot_label, shorten
from fiftyone_plugin.common.untrusted import read_bytes
from fiftyone_plugin.dataset import summary
from fiftyone_plugin.dataset.record import RunRecord
from fiftyone_plugin.errors import UsageError

from ..forms.fields import show_name
from ..running import show_colours

__all__ = [
    "STRIPS",
    "area_bars",
    "area_classes",
    "bars",
    "class_row",
    "histogram",
    "picture_uri",
    "plot",
    "plot_labels",
    "show",
    "size_of",
    "sized",
    "sizes",
    "stage_bars",
    "strips",
    "table",
]

PLOT_HEIGHT = 230
LABEL_LENGTH = 40  # characters
BAR_HEIGHT = 22  # of a class or a stage
MOST_BYTES = 2 << 20  # of a picture
STRIPS = 20  # classes whose crops and areas are shown; the messages to the browser stay below 1 MB


def show(ctx: Any, run: RunRecord, view: Any) -> None:
    """Show a view, or the saved one of a name, with the masks of a run switched on and coloured by class."""
    if isinstance(view, str):
        ctx.ops.set_view(name=view)
    else:
        ctx.ops.set_view(view)
    ctx.ops.set_active_fields([run.field])
    show_colours(ctx)


def histogram(dataset: Any, path: str | None) -> summary.Histogram | None:
    """Return the histogram of a score, ``None`` where there is no value."""
    try:
        return summary.score_histogram(dataset, path) if path and dataset.has_sample_field(path) else None
    except UsageError:
        return None  # no image is labelled yet


def class_row(row: summary.ClassRow) -> dict[str, Any]:
    """Return the cells of a class."""
    ids = ", ".join(map(str, row.ids))
    area = "" if row.area is None else f"{row.area:.1%}"
    return {
        "name": show_name(row.name),
        "ids": ids,
        "images": row.images,
        "share": f"{row.share:.0%}",
        "area": area,
    }


def strips(rows: list[summary.ClassRow], folder: Path) -> list[dict[str, Any]]:
    """Return the strips of crops of the first classes: number of the class's row, texts, and picture.

    Runs of earlier versions have none.
    """
    from fiftyone_plugin.runs.exemplars import exemplar_uri

    found: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        for id_ in row.ids:
            uri = exemplar_uri(folder, id_) if len(found) < STRIPS else None
            if uri:
                name = show_name(row.name)
                name = name if len(row.ids) == 1 else f"{name} (id {id_})"
                images = f"{row.images} image" + ("" if row.images == 1 else "s")
                images += "" if len(row.ids) == 1 else " of all its ids"
                found.append({"row": number, "name": name, "images": images, "uri": uri})
    return found


def bars(found: summary.Histogram) -> list[dict[str, Any]]:
    """Return the bars of a histogram for the plot."""
    centres = [(low + high) / 2 for low, high in pairwise(found.edges)]
    return [{"type": "bar", "x": centres, "y": list(found.counts), "name": plain_plot_label(found.path)}]


def stage_bars(run: RunRecord) -> list[dict[str, Any]]:
    """Return the seconds of a run's stages for the plot, longest on top."""
    seconds = summary.stage_seconds(run)
    names, values = plot_labels(list(seconds)[::-1]), list(seconds.values())[::-1]
    return [{"type": "bar", "orientation": "h", "x": values, "y": names, "name": "seconds"}]


def area_classes(rows: list[summary.ClassRow]) -> list[summary.ClassRow]:
    """Return the classes in the plot of areas, smallest first, as it is drawn from below."""
    known = [row for row in rows if row.area is not None]
    return sorted(known, key=lambda row: (-(row.area or 0), row.ids))[:STRIPS][::-1]


def area_bars(rows: list[summary.ClassRow]) -> list[dict[str, Any]]:
    """Return the area shares of the largest classes for the plot, in the colours of the masks."""
    from fiftyone_plugin.images.palette import hex_color

    shown = area_classes(rows)
    return [
        {
            "type": "bar",
            "orientation": "h",
            "x": [round(100 * (row.area or 0), 2) for row in shown],
            "y": plot_labels([row.name for row in shown]),
            "marker": {"color": [hex_color(row.ids[0]) if row.ids else "#888888" for row in shown]},
            "name": "area, %",
        }
    ]


def plot_labels(names: list[str]) -> list[str]:
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


def size_of(rows: list[dict[str, Any]]) -> int:
    """Return the number of rows of a table, or of bars of a plot."""
    return len(rows[0]["x"]) if rows and "x" in rows[0] else len(rows)


def sizes(ctx: Any) -> dict[str, int]:
    """Return what the panel's state says of the sizes of tables and plots; it comes from the browser."""
    known = ctx.panel.state.sizes
    return {k: v for k, v in known.items() if type(v) is int} if isinstance(known, dict) else {}


def sized(ctx: Any, name: str) -> str:
    """Return the key of a table or plot in the panel's data: another one for another number of rows.

    The App copies data into the state when an input of the panel changes, and shows both merged, row by row:
    under one key the last rows of a longer list would stay below a shorter one.
    """
    return f"{name}_{sizes(ctx).get(name, 0)}"


def plot(panel: Any, key: str, title: str, *, y: str | None = None, bars: int = 0, **events: Any) -> None:
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


def table(panel: Any, key: str, label: str, columns: list[tuple[str, str]], **events: Any) -> None:
    """Add a table, whose rows are in the panel's data under ``key``."""
    view = types.TableView(**events)
    for name, text in columns:
        view.add_column(name, label=text)
    panel.list(key, types.Object(), label=label, view=view)
