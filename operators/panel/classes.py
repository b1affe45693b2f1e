"""The part of the panel "Pseudo-masks" that lists the classes of a run: one table, a class a row."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.dataset import summary
from fiftyone_plugin.dataset.colours import field_colours
from fiftyone_plugin.dataset.record import RunRecord
from fiftyone_plugin.runs.exemplars import thumbnail_uri

from ..forms.fields import show_name
from . import parts
from .guard import GuardedPanel, list_of, row_of

__all__ = ["ClassSection", "class_row"]

COLUMNS = {"name": "Class", "crops": "Crops", "images": "Images", "area": "Area", "quality": "Quality"}
DOWN_FIRST = ("images", "area", "quality")  # a first click on these headings puts the largest on top
SORTABLE = [name for name in COLUMNS if name != "crops"]
WITH_CROPS = 60  # rows; about 4 kB each travel with every event
HEIGHT = 560  # pixels of the table; longer ones scroll
CROPS = (111, 36)  # pixels, of three crops side by side
COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
ACTIONS = {
    "rename_class": ("Rename", "edit"),
    "split_one": ("Split", "call_split"),
    "hide_one": ("Hide", "visibility_off"),
}


class ClassSection(GuardedPanel):
    """The table and its clicks; a part of the panel, whose state and hooks it shares."""

    def click_class(self, ctx: ExecutionContext) -> None:
        """Show the images with the class of a row, or all again; a click on a heading sorts by it."""
        run, row, column = parts.chosen(ctx), ctx.params.get("row"), ctx.params.get("column")
        if row == -1:
            heading = row_of(column, COLUMNS)
            name = "" if heading is None else list(COLUMNS)[heading]
            if name in SORTABLE:
                by, down = _order(ctx)
                ctx.panel.state.sort = [name, not down if by == name else name in DOWN_FIRST]
                self.refresh(ctx)
            return
        rows = _rows(ctx)
        number = row_of(row, rows)  # the event may be of an earlier state
        if run is None or number is None:
            return
        name = rows[number][0]
        view = summary.class_view(ctx.dataset, run.field, name)
        if ctx.view is not None and ctx.view == view:
            self.show_all(ctx)
            return
        ctx.panel.state.shown = name
        parts.show(ctx, run, view)

    def show_all(self, ctx: ExecutionContext) -> None:
        """Leave the view that a click has set."""
        ctx.panel.state.shown = None
        ctx.ops.clear_view()

    def rename_class(self, ctx: ExecutionContext) -> None:
        """Open the form for the name of the class of a row."""
        self._open_for(ctx, "rename_classes", lambda field, ids: {"only": ",".join(map(str, ids))})

    def split_one(self, ctx: ExecutionContext) -> None:
        """Open the form that splits the class of a row."""
        self._open_for(ctx, "split_class", lambda field, ids: {"class_id": str(ids[0])})

    def hide_one(self, ctx: ExecutionContext) -> None:
        """Open the form that hides the class of a row."""
        self._open_for(ctx, "hide_classes", lambda field, ids: {f"{field}__hide__{id_}": True for id_ in ids})

    def _open_for(
        self, ctx: ExecutionContext, operator: str, params: Callable[[str, list[int]], dict[str, object]]
    ) -> None:
        run, rows = parts.chosen(ctx), _rows(ctx)
        number = row_of(ctx.params.get("row"), rows)
        if run and number is not None and (ids := rows[number][1]):
            values = {"field": run.field, **params(run.field, ids)}
            self._prompt(ctx, operator, values, self.refresh)

    def class_state(self, ctx: ExecutionContext, rows: list[summary.ClassRow]) -> dict[str, object]:
        """Return what the state holds of the table: its rows, their order, and the class in the grid."""
        listed = [[row.name, list(row.ids)] for row in rows]
        shown = ctx.panel.state.shown
        return {
            "classes": listed,
            "sort": list(_order(ctx)),
            "shown": shown if shown in [name for name, _ in listed] else None,
        }

    def class_rows(self, ctx: ExecutionContext, run: RunRecord | None) -> list[summary.ClassRow]:
        """Return the classes of a run, in the order that a person wants."""
        if run is None or not run.is_complete:
            return []
        rows = summary.class_rows(ctx.dataset, run.field, run.areas)
        by, down = _order(ctx)
        if by == "name":
            return sorted(rows, key=lambda row: _natural(row.name), reverse=down)
        return sorted(rows, key=lambda row: getattr(row, by) or 0, reverse=down)  # stable

    def render_classes(self, ctx: ExecutionContext, panel: types.Object, run: RunRecord) -> None:
        """Lay the table out."""
        rows, (by, down) = _rows(ctx), _order(ctx)
        view = types.TableView(
            on_click_cell=self.click_class,
            size="small",
            max_inline_actions=len(ACTIONS),
            actions_label=" ",
            componentsProps=_looks(ctx, run, rows),
        )
        for key, label in COLUMNS.items():
            view.add_column(key, label=label + (" \u2193" if down else " \u2191") * (key == by))
        for name, (label, icon) in ACTIONS.items():
            view.add_row_action(name, getattr(self, name), icon=icon, tooltip=label)
        for number, (name, ids) in enumerate(rows):  # it is what the cell is called, for those who cannot see
            told = ", ".join(map(str, ids))
            view.add_tooltip(number, 0, f"{show_name(name)}: id{'s' * (len(ids) > 1)} {told}")
        panel.list(parts.sized(ctx, "classes"), types.Object(), view=view)


def class_row(row: summary.ClassRow) -> dict[str, object]:
    """Return the cells of a class."""
    return {
        "name": show_name(row.name),
        "crops": "",
        "images": row.images,
        "area": "" if row.area is None else f"{row.area:.1%}",
        "quality": "" if row.quality is None else f"{row.quality:.2f}",
    }


def _natural(name: str) -> list[tuple[int, str]]:
    """Return what sorts names with numbers in them as a person does."""
    return [
        (int(part), "") if part.isdecimal() and len(part) < 10 else (-1, part.casefold())
        for part in re.split(r"(\d+)", name)
    ]


def _order(ctx: ExecutionContext) -> tuple[str, bool]:
    """Return the column that the rows are sorted by, and whether the largest is on top."""
    order = ctx.panel.state.sort
    if isinstance(order, list) and len(order) == 2 and order[0] in SORTABLE:
        return str(order[0]), order[1] is True
    return "images", True


def _rows(ctx: ExecutionContext) -> list[tuple[str, list[int]]]:
    """Return name and ids of the rows of the panel's state, which comes from the browser."""
    rows = [row for row in list_of(ctx.panel.state.classes) if isinstance(row, list) and len(row) == 2]
    return [
        (name, [id_ for id_ in ids if type(id_) is int])
        for name, ids in rows
        if isinstance(name, str) and isinstance(ids, list)
    ]


# ---------------------------------------------------------------------- looks


def _looks(ctx: ExecutionContext, run: RunRecord, rows: list[tuple[str, list[int]]]) -> dict[str, object]:
    """Return the styles of the table.

    Cells of the App's tables hold text alone, so colours, crops and bars are backgrounds of cells.
    """
    colours, folder = field_colours(ctx.dataset, run.field), Path(run.out)
    style: dict[str, object] = {
        "minWidth": 0,
        "& th": {
            "cursor": "pointer", "whiteSpace": "nowrap", "position": "sticky", "top": 0, "zIndex": 1,
            "background": "var(--fo-palette-background-level1)",
        },
        "& th, & td": {"padding": "3px 8px", "fontSize": "0.9rem"},
        "& tbody tr": {"cursor": "pointer", "height": "42px"},
        "& tbody tr:hover": {"background": "var(--fo-palette-background-level1)"},
        "& td:first-of-type": {"overflowWrap": "anywhere", "minWidth": 110},
        "& td:nth-of-type(2)": {
            "minWidth": CROPS[0] + 8, "backgroundRepeat": "no-repeat", "backgroundPosition": "left center",
            "backgroundSize": f"auto {CROPS[1]}px",
        },
        "& td:nth-of-type(4)": {
            "backgroundRepeat": "no-repeat", "backgroundPosition": "8px calc(100% - 4px)",
        },
    }  # fmt: skip
    shares = [sum(float(run.areas.get(str(id_), 0)) for id_ in ids) for _, ids in rows]
    largest = max(shares, default=0.0) or 1.0
    for number, (name, ids) in enumerate(rows, 1):
        row, id_ = f"& tbody tr:nth-of-type({number})", ids[0] if ids else 0
        colour = colours.get(id_, "")
        colour = colour if COLOUR.fullmatch(colour) else "#888888"
        style[f"{row} td:first-of-type::before"] = {
            "content": '""', "display": "inline-block", "width": 14, "height": 14, "marginRight": "8px",
            "borderRadius": "3px", "verticalAlign": "-2px", "background": colour,
            "boxShadow": "0 0 0 1px rgba(128,128,128,.6)",
        }  # fmt: skip
        if run.areas:
            style[f"{row} td:nth-of-type(4)"] = {
                "backgroundImage": f"linear-gradient({colour},{colour})",
                "backgroundSize": f"{0.8 * shares[number - 1] / largest:.1%} 4px",
            }
        uri = thumbnail_uri(folder, id_) if number <= WITH_CROPS else None
        if uri:
            style[f"{row} td:nth-of-type(2)"] = {"backgroundImage": f"url({uri})"}
        if name == ctx.panel.state.shown:
            style[f"{row} td"] = {"boxShadow": "inset 0 2px var(--fo-palette-primary-main), inset 0 -2px "
                                  "var(--fo-palette-primary-main)"}  # fmt: skip
    return {
        "tableContainer": {"sx": {"maxHeight": HEIGHT, "overflow": "auto"}},
        "table": {"sx": style},
    }
