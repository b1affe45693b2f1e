"""Names of classes and their colours in the App: kept with the dataset, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..images.palette import hex_color, is_class_color

if TYPE_CHECKING:
    from fiftyone import ColorScheme, Dataset

__all__ = ["class_colours", "forget_classes", "saved_scheme", "write_classes"]

COLOURS = "maskTargetsColors"


def write_classes(dataset: Dataset, field: str, names: Mapping[int, str]) -> None:
    """Save the names of a mask field's classes and their colours; a person's own colours stay.

    The App paints all masks of a field in one colour unless its colours go by value: that is set where nobody
    has chosen otherwise. What it has for other fields is left alone.

    Args:
        dataset: the dataset.
        field: the mask field.
        names: class id -> name; classes of one name get one colour, that of the smallest id.
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
    colours = {**class_colours(names), **chosen}
    own[COLOURS] = [{"intTarget": id_, "color": colours[id_]} for id_ in sorted(colours)]
    scheme.fields = entries
    dataset.app_config.color_scheme = scheme
    dataset.save()


def forget_classes(dataset: Dataset, field: str) -> None:
    """Remove the names and colours of a mask field, and a colour scheme that was made for it alone."""
    targets = dataset.mask_targets.items()
    dataset.mask_targets = {name: names for name, names in targets if name != field}
    scheme = dataset.app_config.color_scheme
    if scheme is not None:
        scheme.fields = [entry for entry in scheme.fields or [] if entry.get("path") != field]
        dataset.app_config.color_scheme = None if _is_bare(scheme) else scheme
    dataset.save()


def class_colours(names: Mapping[int, str]) -> dict[int, str]:
    """Return class id -> ``#rrggbb``, as on the run's contact sheet; 0 is background and has none."""
    first: dict[str, int] = {}
    return {id_: hex_color(first.setdefault(names[id_], id_)) for id_ in sorted(names) if id_ > 0}


def saved_scheme(dataset: Dataset) -> dict[str, Any]:
    """Return the colours that are saved with a dataset, as the App's ``set_color_scheme`` takes them."""
    scheme = dataset.app_config.color_scheme
    if scheme is None:
        return {}
    return {"color_by": scheme.color_by, "fields": [dict(entry) for entry in scheme.fields or []]}


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
