"""Colours of classes in the App."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["color_scheme"]


def color_scheme(classes: Iterable[int]) -> dict[str, Any]:
    """Return what tells classes apart in the App, which else paints a field in one colour.

    Args:
        classes: ids of classes; their colours are those of the run's contact sheet.
    """
    from fiftyone_plugin.images.drawing import hex_color

    targets = [{"intTarget": id_, "color": hex_color(id_)} for id_ in classes]
    return {"color_by": "value", "default_mask_targets_colors": targets}
