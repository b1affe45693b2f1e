"""Names of classes and their colours in the App: kept with the dataset, field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..images.palette import COLOUR_BLIND, USUAL, hex_color, is_class_color

if TYPE_CHECKING:
    from fiftyone import ColorScheme, Dataset

__all__ = ["COLOURS", "class_colours", "field_colours", "forget_classes", "palette_of", "saved_scheme"]
__all__ += ["use_palette", "write_classes", "write_scale"]

COLOURS = "maskTargetsColors"
PALETTE = "pseudomask_palette"  # in a dataset's info: the colours of its classes, where not the usual ones


def write_classes(dataset: Dataset, field: str, names: Mapping[int, str]) -> None:
    """Save the names of a mask field's classes and their colours; a person's own colours stay.

    The App paints all masks of a field in one colour unless its colours go by value: that is set where nobody
    has chosen otherwise. What it has for other fields is left alone. Classes of one name get one colour, that
    of the smallest id.
    """
    import fiftyone as fo

    dataset.mask_targets = {**dataset.mask_targets, field: dict(names)}
    scheme = dataset.app_config.color_scheme or fo.ColorScheme()
    scheme.color_by = scheme.color_by or "value"
    entries = [dict(entry) for entry in scheme.fields or []]
    own = next((entry for entry in entries if entry.get("path") == field), None)
    if own is None:
        own = {"path": field}
        entries.append(own)
    chosen = _chosen(own)
    colours = {**class_colours(names, palette_of(dataset)), **chosen}
    own[COLOURS] = [{"intTarget": id_, "color": colours[id_]} for id_ in sorted(colours)]
    scheme.fields = entries
    dataset.app_config.color_scheme = scheme
    dataset.save()


def write_scale(dataset: Dataset, field: str, colours: Sequence[str]) -> None:
    """Save the colours of a heat map, from that of its lowest values on, e.g. ``rgb(255, 0, 0)``."""
    import fiftyone as fo

    scheme = dataset.app_config.color_scheme or fo.ColorScheme()
    scheme.color_by = scheme.color_by or "value"
    steps = [{"value": n / (len(colours) - 1), "color": colour} for n, colour in enumerate(colours)]
    others = [entry for entry in scheme.colorscales or [] if entry.get("path") != field]
    scheme.colorscales = [*others, {"path": field, "list": steps}]
    dataset.app_config.color_scheme = scheme
    dataset.save()


def forget_classes(dataset: Dataset, field: str) -> None:
    """Remove the names and colours of a mask field, and a colour scheme that was made for it alone."""
    targets = dataset.mask_targets.items()
    dataset.mask_targets = {name: names for name, names in targets if name != field}
    scheme = dataset.app_config.color_scheme
    if scheme is not None:
        scheme.fields = [entry for entry in scheme.fields or [] if entry.get("path") != field]
        scheme.colorscales = [each for each in scheme.colorscales or [] if each.get("path") != field] or None
        dataset.app_config.color_scheme = None if _is_bare(scheme) else scheme
    dataset.save()


def palette_of(dataset: Dataset) -> str:
    """Return the name of the palette that a dataset's classes have their colours from."""
    return COLOUR_BLIND if dataset.info.get(PALETTE) == COLOUR_BLIND else USUAL


def use_palette(dataset: Dataset, palette: str) -> None:
    """Colour the classes of every run anew, and those of later runs; a person's own colours stay.

    ``palette`` is ``usual``, or ``colour-blind``: colours that differ to eyes without one kind of cones too.

    Raises:
        UsageError: there is no such palette.
    """
    from .record import list_runs

    if palette not in (USUAL, COLOUR_BLIND):
        raise UsageError(f"there is no palette {palette!r}: {USUAL} or {COLOUR_BLIND}")
    info = {name: value for name, value in dataset.info.items() if name != PALETTE}
    dataset.info = info if palette == USUAL else {**info, PALETTE: palette}
    dataset.save()
    for run in list_runs(dataset):
        if run.field in dataset.mask_targets:
            write_classes(dataset, run.field, dataset.mask_targets[run.field])


def class_colours(names: Mapping[int, str], palette: str = USUAL) -> dict[int, str]:
    """Return class id -> ``#rrggbb``, as on the run's contact sheet; 0 is background and has none."""
    first: dict[str, int] = {}
    return {id_: hex_color(first.setdefault(names[id_], id_), palette) for id_ in sorted(names) if id_ > 0}


def saved_scheme(dataset: Dataset) -> dict[str, Any]:
    """Return the colours that are saved with a dataset, as the App's ``set_color_scheme`` takes them."""
    scheme = dataset.app_config.color_scheme
    if scheme is None:
        return {}
    scales = {"colorscales": [dict(entry) for entry in scheme.colorscales]} if scheme.colorscales else {}
    return {"color_by": scheme.color_by, "fields": [dict(entry) for entry in scheme.fields or []], **scales}


def field_colours(dataset: Dataset, field: str) -> dict[int, str]:
    """Return class id -> colour of a mask field, as the App draws it: what is saved, else the palette's."""
    names = {int(id_): str(name) for id_, name in (dataset.mask_targets.get(field) or {}).items()}
    entries = getattr(dataset.app_config.color_scheme, "fields", None) or []
    own: Mapping[str, Any] = next((entry for entry in entries if entry.get("path") == field), {})
    saved = own.get(COLOURS) or []
    listed = {item["intTarget"]: str(item["color"]) for item in saved if {"intTarget", "color"} <= set(item)}
    return {**class_colours(names, palette_of(dataset)), **listed}


def _chosen(entry: Mapping[str, Any]) -> dict[int, str]:
    """Return id -> colour of those that a person has chosen: ours come from one palette."""
    listed = [item for item in entry.get(COLOURS) or [] if isinstance(item, Mapping)]
    return {
        int(item["intTarget"]): str(item["color"])
        for item in listed
        if isinstance(item.get("intTarget"), int) and not is_class_color(str(item.get("color")))
    }


def _is_bare(scheme: ColorScheme) -> bool:
    """Tell whether nothing is left of a scheme but what :func:`write_classes` sets."""
    content = scheme.to_dict()
    left = {key for key, value in content.items() if value not in (None, [], {}) and key not in ("id", "_id")}
    return left <= {"color_by", "_cls"} and scheme.color_by == "value"
