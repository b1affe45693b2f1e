"""Stopping a run from outside its process: it ends within one batch, and what is finished is kept."""

from __future__ import annotations

import time
from pathlib import Path

from ..common.locks import is_held
from ..common.progress import CheckedProgress, Progress
from ..errors import PseudoMaskError
from .cleaning import LOCK
from .folder import RunDirectory

__all__ = ["RunStopped", "StoppableProgress", "is_at_work", "request_stop"]

REQUEST = "stop"
INTERVAL_S = 0.3  # between looks at the disk


class RunStopped(PseudoMaskError):
    """A run was stopped on purpose; called again with the same settings, it goes on where it stopped."""


def is_at_work(out: Path) -> bool:
    """Tell whether a process writes to the run folder ``out`` at this moment."""
    return is_held(RunDirectory(out).work / LOCK)


def request_stop(out: Path) -> bool:
    """Ask the run that writes to ``out``, in whatever process, to stop.

    Returns:
        Whether there is one; without one nothing is changed.
    """
    if not is_at_work(out):
        return False
    try:
        (RunDirectory(out).work / REQUEST).touch()
    except OSError:  # it has ended at this moment, or is not ours to stop
        return False
    return True


class StoppableProgress(CheckedProgress):
    """Passes everything on to ``inner``, and ends the run in ``out`` once :func:`request_stop` was called.

    Its stages raise :class:`RunStopped` then. A request that is older than the run's first stage was meant
    for another one, and is forgotten.
    """

    def __init__(self, inner: Progress, out: Path) -> None:
        super().__init__(inner, self._look)
        self._request = RunDirectory(out).work / REQUEST
        self._begun = False
        self._looked = 0.0

    def _look(self) -> None:
        if not self._begun:  # the run holds its folder by now
            self._begun = True
            self._request.unlink(missing_ok=True)
        now = time.monotonic()
        if now - self._looked < INTERVAL_S:
            return
        self._looked = now
        if self._request.exists():
            self._request.unlink(missing_ok=True)
            raise RunStopped("stopped as asked")
