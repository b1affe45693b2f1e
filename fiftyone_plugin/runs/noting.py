"""A note on disk of how far a run is and why it ended, for whoever watches from another process."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..common.files import write_json
from ..common.progress import Progress, Stage
from ..common.untrusted import read_json
from ..errors import UsageError
from .folder import RunDirectory
from .stopping import is_at_work

__all__ = ["Note", "NotedProgress", "forget_note", "is_running", "note_end", "read_note"]

NOTE = "progress.json"
INTERVAL_S = 1.0
FRESH_S = 5.0  # a note that is younger is of a process that lives
LONGEST = 2000  # characters of a reason


@dataclass(frozen=True)
class Note:
    """How far a run is."""

    stage: str
    done: int = 0  # units of the stage
    total: int | None = None  # units of it, where they are known
    seconds: float = 0.0  # since the stage began
    at: float = 0.0  # seconds since the epoch
    reason: str = ""  # why the run ended; empty while it works

    @property
    def share(self) -> float:
        """Share of the stage that is done, in [0, 1]."""
        return min(1.0, self.done / self.total) if self.total else 0.0


def _path(out: Path) -> Path:
    return RunDirectory(out).work / NOTE


def _write(out: Path, note: Note) -> None:
    """Write a note; a run goes on without one where there is no folder, or no room."""
    if _path(out).parent.is_dir():
        with suppress(OSError):
            write_json(_path(out), asdict(note))


def read_note(out: Path) -> Note | None:
    """Return the note of the run in ``out``; ``None`` where there is none that is sound."""
    try:
        note = Note(**read_json(_path(out), what="a note on a run"))
    except (TypeError, UsageError):
        return None
    counts = (note.done, 0 if note.total is None else note.total)
    is_sound = (
        isinstance(note.stage, str)
        and isinstance(note.reason, str)
        and all(type(count) is int and 0 <= count < 2**53 for count in counts)
        and all(isinstance(each, int | float) and math.isfinite(each) for each in (note.seconds, note.at))
    )
    return note if is_sound else None


def is_running(out: Path) -> bool:
    """Tell whether a run is at work: its folder is held, or what it made is being written to a dataset."""
    note = read_note(out)
    return is_at_work(out) or (note is not None and not note.reason and time.time() - note.at < FRESH_S)


def note_end(out: Path, reason: object) -> None:
    """Note why the run in ``out`` ended before it was done."""
    words = str(reason)[:LONGEST] or type(reason).__name__
    _write(out, replace(read_note(out) or Note(""), at=time.time(), reason=words))


def forget_note(out: Path) -> None:
    """Remove the note of a run that is done."""
    with suppress(OSError):
        _path(out).unlink(missing_ok=True)


class NotedProgress:
    """Passes everything on to ``inner``, and notes it in the folder of a run about once a second."""

    def __init__(self, inner: Progress, out: Path) -> None:
        self.inner = inner
        self.out = out

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "img") -> Iterator[Stage]:
        """Open a stage of the wrapped progress and note how far it is."""
        start, out = time.monotonic(), self.out

        class _Noted:
            done = 0
            last = start

            def update(self, n: int = 1) -> None:
                stage.update(n)
                self.done += n
                if time.monotonic() - self.last >= INTERVAL_S:
                    self.last = time.monotonic()
                    _write(out, Note(name, self.done, total, self.last - start, time.time()))

            def __getattr__(self, attribute: str) -> object:
                return getattr(stage, attribute)

        _write(out, Note(name, 0, total, 0.0, time.time()))
        with self.inner.stage(name, total, unit) as stage:
            yield _Noted()
