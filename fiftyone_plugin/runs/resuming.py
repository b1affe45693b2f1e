"""Whether a run may go on: with the same settings, and the same images as far as they are still there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..images.listing import ImageItem
from .images import IMAGE_SETTINGS, check_same_images, compare_images
from .record import RunDocument
from .samples import read_samples

__all__ = ["check_resumable"]


def check_resumable(
    root: Path,
    previous: RunDocument,
    settings: dict[str, Any],
    items: Sequence[ImageItem],
    before: Sequence[ImageItem] | None,
    table: Path,
) -> list[ImageItem]:
    """Return the images of a run that goes on.

    Args:
        root: folder of the run, for errors.
        previous: its record.
        settings: those asked for; images are compared by ``items``, unless there are none.
        items: the images asked for.
        before: the images that an unfinished run began with; ``None`` where it was not recorded.
        table: of a finished run.

    Raises:
        UsageError: settings or images differ; says how, and what to do.
    """
    complete = previous.is_complete
    by_items = bool(items) and (complete or before is not None)
    apart = IMAGE_SETTINGS if by_items else IMAGE_SETTINGS[2:]
    old, new = (_without(each, apart) for each in (previous.settings, json.loads(json.dumps(settings))))
    state = "finished run" if complete else "run"
    if changed := _differences(old, new):
        raise UsageError(
            f"cannot resume the {state} in {root}: {'; '.join(changed[:4])}. Use the same settings, or "
            f"--overwrite"
        )
    try:
        if by_items and not complete and before is not None:
            return compare_images(before, items)
        if by_items:
            rows = read_samples(table) if table.is_file() else []
            check_same_images(previous.settings, rows, items)
    except UsageError as error:
        advice = "choose another --out" if complete else "use the same images"
        raise UsageError(
            f"cannot resume the {state} in {root}: {error}. {advice.capitalize()}, or --overwrite"
        ) from error
    return list(items)


def _without(settings: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Describe where two settings differ, one phrase each."""
    found: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key} was {a!r}, now {b!r}")
    return found
