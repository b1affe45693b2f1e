"""This machine: the process itself, or worker processes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from ..common.parallel import batched, parallel_map
from .base import Work

__all__ = ["Local"]

T = TypeVar("T")
CHUNKS = 8  # a process gets before results are asked for


class Local:
    """The engine without a cluster.

    Args:
        jobs: processes that :meth:`gather` uses; 1 for none.
    """

    apart = False
    on_gpu = False

    def __init__(self, jobs: int = 1) -> None:
        self.jobs = jobs

    def map(self, work: Work, items: Iterable[T], chunk: int) -> Iterator[Any]:
        """Yield what comes of the items from one worker, in this process; it spreads its work itself."""
        yield from work.open()(list(items))

    def gather(self, work: Work, items: Iterable[T], chunk: int) -> Iterator[Any]:
        """Yield what comes of the items, in their order, from worker processes."""
        for group in batched(batched(items, chunk), CHUNKS * self.jobs if self.jobs > 1 else 1):
            for found in parallel_map(_do, [(work, part) for part in group], self.jobs):
                yield from found

    def describe(self) -> str:
        """Return nothing."""
        return ""

    def __enter__(self) -> Local:
        """Do nothing."""
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""


def _do(work: Work, items: Sequence[Any]) -> list[Any]:
    return list(work.open()(items))
