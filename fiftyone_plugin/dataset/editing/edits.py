"""The edits of a run: list them, and take the last one back."""

from __future__ import annotations

from typing import Any

from ..keys import run_key
from .history import Edit, read_edits
from .run import editing

__all__ = ["list_edits", "undo_edit"]


def list_edits(samples: Any, field: str) -> list[Edit]:
    """Return all edits of the run that fills ``field``, oldest first, with those that were taken back.

    Args:
        samples: the dataset, or any view of it.
        field: mask field of a run; without a run there are no edits.
    """
    dataset, key = samples._dataset, run_key(field)
    return read_edits(dataset.get_run_info(key).config) if dataset.has_run(key) else []


def undo_edit(samples: Any, field: str) -> Edit:
    """Take the last edit of a run back: samples show the masks before it again, byte for byte.

    Mask targets, lists of classes and coverage follow. Calling it again takes back the edit before; where
    a call was cut short by a crash, the next one completes it and takes nothing else back.

    Args:
        samples: the dataset, or any view of it.
        field: mask field of a finished run.

    Returns:
        The record of what was taken back.

    Raises:
        UsageError: no finished run fills ``field``, or no edit is left.
        PseudoMaskError: another edit is being written.
    """
    with editing(samples, field) as run:
        return run.carried_on[-1] if run.carried_on else run.undo_last()
