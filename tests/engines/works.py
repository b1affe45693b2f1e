"""Works that do hardly anything, and go wrong when they are told to."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fiftyone_plugin.errors import PseudoMaskError, UsageError

DISK = "PSEUDOMASK_TEST_DISK"  # in the environment of a node: the file that its workers write to


@dataclass(frozen=True)
class Squares:
    """Squares numbers; ``killers`` kill the process, ``hangers`` stop it, every number takes ``seconds``."""

    killers: tuple[int, ...] = ()
    seconds: float = 0.0
    hangers: tuple[int, ...] = ()

    def open(self) -> Callable[[Sequence[int]], Iterator[int]]:
        return self._do

    def _do(self, items: Sequence[int]) -> Iterator[int]:
        for item in items:
            if item in self.killers:
                os.kill(os.getpid(), signal.SIGKILL)
            if item in self.hangers:
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(self.seconds)
            yield item * item


@dataclass(frozen=True)
class Refuses:
    """Cannot be done: ``when`` it is opened or begun."""

    when: str

    def open(self) -> Callable[[Sequence[int]], Iterator[int]]:
        if self.when == "opened":
            raise UsageError("this is not here; put it there")
        return self._do

    def _do(self, items: Sequence[int]) -> Iterator[int]:
        if self.when == "begun":
            raise PseudoMaskError("this cannot be done")
        raise ZeroDivisionError("a bug")


@dataclass(frozen=True)
class Writes:
    """Writes every number to the disk of its node, and where to ``out``."""

    out: Path

    def open(self) -> Callable[[Sequence[int]], Iterator[int]]:
        return self._do

    def _do(self, items: Sequence[int]) -> Iterator[int]:
        disk = os.environ.get(DISK)
        for item in items:
            with open(disk or self.out / f"{item}", "a") as file:
                file.write(f"{item}\n")
            time.sleep(0.1)
            yield item


@dataclass(frozen=True)
class Hungry:
    """Takes more memory than there is for one of the numbers."""

    number: int

    def open(self) -> Callable[[Sequence[int]], Iterator[int]]:
        return self._do

    def _do(self, items: Sequence[int]) -> Iterator[int]:
        for item in items:
            if item == self.number:
                resource.setrlimit(resource.RLIMIT_AS, (1 << 36, resource.RLIM_INFINITY))
                np.zeros(1 << 40, np.uint8)
            yield item
