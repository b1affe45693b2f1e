"""Which chunk is done next, how often, and in what pieces: what an engine over machines decides by itself.

A chunk whose worker dies is given to another one. Where that dies too, the chunk is done item by item, so
that the one that kills workers is found; it is tried again, and then given up. Nothing here knows an engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..common.parallel import batched
from .base import Lost

__all__ = ["ATTEMPTS", "Answers", "Chunks", "Task", "in_order"]

T = TypeVar("T")
Answers = Iterator[tuple[int, list[Any]]]
"""Numbers of chunks, and what came of their items: what the work makes of each, or :class:`~.base.Lost`."""

ATTEMPTS = 2  # at a chunk, and again at each item of one that was cut up


@dataclass
class _Chunk:
    """A chunk on its way; ``parts`` holds what came of its tasks, by their place."""

    number: int
    items: list[object]
    parts: dict[int, list[object]] = field(default_factory=dict)
    pieces: int = 1


@dataclass
class Task:
    """What one worker is given at once: a chunk, or the item at ``place`` in it; ``attempts``: its deaths."""

    chunk: _Chunk
    place: int
    items: list[object]
    attempts: int = 0

    @property
    def suspect(self) -> bool:
        """A worker has died of it, or of the chunk that it was cut from: a worker has to do it alone.

        One that dies may take the answer of the task before along, and that one would be blamed.
        """
        return self.attempts > 0 or self.chunk.pieces > 1


class Chunks:
    """The chunks of a map, of ``size`` items, which are taken when there is somebody to do them.

    Up to ``ahead`` chunks may be begun while an earlier one is not done.
    """

    def __init__(self, items: Iterable[object], size: int, ahead: int) -> None:
        self._new = enumerate(batched(items, size))
        self._begun = 0
        self._again: deque[Task] = deque()
        self._open: dict[int, _Chunk] = {}
        self._ahead = ahead
        self._all_begun = False

    def take(self) -> Task | None:
        """Return the next task; ``None`` while there is none to begin."""
        if self._again:
            return self._again.popleft()
        if self._all_begun or self._begun - next(iter(self._open), self._begun) >= self._ahead:
            return None
        number, items = next(self._new, (-1, []))
        if number < 0:
            self._all_begun = True
            return None
        self._begun += 1
        self._open[number] = _Chunk(number, items)
        return Task(self._open[number], 0, items)

    @property
    def done(self) -> bool:
        """Whether every item has its answer."""
        return self._all_begun and not self._open

    def give_back(self, task: Task) -> None:
        """Take back a task that nobody has begun, or that its worker could not do for its own reasons."""
        self._again.appendleft(task)

    def answer(self, task: Task, found: list[object]) -> Answers:
        """Note what came of a task; yields the number and the answers of a chunk that this completes."""
        chunk = task.chunk
        chunk.parts[task.place] = found
        if len(chunk.parts) == chunk.pieces:
            del self._open[chunk.number]
            yield chunk.number, [one for place in sorted(chunk.parts) for one in chunk.parts[place]]

    def died(self, task: Task, reason: str) -> Answers:
        """Note that the worker of a task has died of it; as :meth:`answer` where it is given up."""
        task.attempts += 1
        if task.attempts < ATTEMPTS:
            self._again.appendleft(task)
        elif len(task.items) > 1:
            task.chunk.pieces = len(task.items)
            self._again.extendleft(
                Task(task.chunk, place, [item]) for place, item in reversed(list(enumerate(task.items)))
            )
        else:
            deaths = task.attempts + (ATTEMPTS if task.chunk.pieces > 1 else 0)
            words = f"the worker that had it died each time, {deaths} times: {reason}"
            yield from self.answer(task, [Lost(task.items[0], words)])


def in_order(answers: Iterable[tuple[int, list[T]]]) -> Iterator[T]:
    """Yield answers in the order of their chunks."""
    early: dict[int, list[T]] = {}
    wanted = 0
    for number, found in answers:
        early[number] = found
        while wanted in early:
            yield from early.pop(wanted)
            wanted += 1
