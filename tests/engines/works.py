"""Works that do hardly anything, and that go wrong when they are told to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fiftyone_plugin.errors import PseudoMaskError, UsageError


@dataclass(frozen=True)
class Squares:
    """Squares numbers; ``killers`` kill the process, ``slow`` takes a moment for each."""

    killers: tuple[int, ...] = ()
    slow: float = 0.0
    refuse: str = ""

    def open(self) -> Callable[[Sequence[int]], list[int]]:
        if self.refuse:
            raise UsageError(self.refuse)
        return self._do

    def _do(self, items: Sequence[int]) -> list[int]:
        done = []
        for item in items:
            if item in self.killers:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(self.slow)
            done.append(item * item)
        return done


@dataclass(frozen=True)
class Pids:
    """Returns who did it, after a moment; notes it in a folder, so that somebody can kill that process."""

    folder: Path
    seconds: float = 0.05

    def open(self) -> Callable[[Sequence[int]], list[tuple[int, int]]]:
        (self.folder / f"{os.getpid()}").touch()
        return self._do

    def _do(self, items: Sequence[int]) -> list[tuple[int, int]]:
        time.sleep(self.seconds * len(items))
        return [(item, os.getpid()) for item in items]


@dataclass(frozen=True)
class Fails:
    """Raises what it is told to."""

    error: Exception

    def open(self) -> Callable[[Sequence[int]], list[int]]:
        return self._do

    def _do(self, items: Sequence[int]) -> list[int]:
        raise self.error


REFUSED = PseudoMaskError("this cannot be done")
