"""What was begun on a run and is not done: noted in its record before the first step, removed after the last.

A process can end, and the database with it, between any two commands. Every step here can be done twice, and
:func:`fiftyone_plugin.dataset.recovery.recover` does, or takes back, what a record says was begun.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import PseudoMaskError
from .record import stored, update_record

if TYPE_CHECKING:
    from fiftyone import Dataset

__all__ = ["at_work", "begun", "is_alive", "note", "pending", "refuse_if_busy"]

UNSEEN_S = 600.0  # how long a step of another machine counts as being worked on
_ACTIVE: set[str] = set()
"""Tokens of what this process does at the moment."""


@contextmanager
def at_work() -> Iterator[dict[str, object]]:
    """Yield who is at work, for a record, and count as at work within the block."""
    token = uuid.uuid4().hex
    _ACTIVE.add(token)
    try:
        yield {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _started(os.getpid()),
            "begun": time.time(),
            "token": token,
        }
    finally:
        _ACTIVE.discard(token)


def is_alive(step: object) -> bool:
    """Return whether somebody may still be at work on a step that a record holds.

    A process of another machine cannot be seen: it counts as gone some minutes after the step began.
    """
    holder = step.get("holder") if isinstance(step, dict) else None
    if not isinstance(holder, dict):
        return False
    if holder.get("host") != socket.gethostname():
        since = holder.get("begun")
        return isinstance(since, (int, float)) and abs(time.time() - since) < UNSEEN_S
    if holder.get("pid") == os.getpid():
        return holder.get("token") in _ACTIVE
    started = _started(holder.get("pid"))
    return started is not None and started == holder.get("started")


def _started(pid: object) -> float | None:
    """Return when a process began, ``None`` if there is no such process or it has ended."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except (psutil.Error, TypeError, ValueError, OverflowError):
        return None


def pending(dataset: Dataset, key: str) -> dict[str, dict[str, Any]]:
    """Return what the record of a run or a comparison says was begun: step -> its details."""
    steps = stored(dataset, key, "pending")
    return steps if isinstance(steps, dict) else {}


def note(dataset: Dataset, key: str, **steps: dict[str, object] | None) -> None:
    """Write steps into a record; ``None`` for one that is done."""
    changed = {**pending(dataset, key), **steps}
    update_record(dataset, key, pending={name: step for name, step in changed.items() if step is not None})


@contextmanager
def begun(dataset: Dataset, key: str, step: str, **details: object) -> Iterator[None]:
    """Note a step, do the block, and note that it is done; after an error the note stays.

    A block that removes the record ends the step with it.
    """
    with at_work() as holder:
        note(dataset, key, **{step: {**details, "holder": holder}})
        yield
        if dataset.has_run(key):
            note(dataset, key, **{step: None})


def refuse_if_busy(dataset: Dataset, key: str) -> None:
    """Refuse to change a run that another process changes at this moment.

    Raises:
        PseudoMaskError: one does.
    """
    if dataset.has_run(key) and any(is_alive(step) for step in pending(dataset, key).values()):
        raise PseudoMaskError(f"run {key!r} is being changed by another process at this moment; wait for it")
