"""The contract: work is mapped over items in chunks, and what comes of them is gathered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

__all__ = ["Engine", "Lost", "Needs", "Work", "Worker"]

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
Worker = Callable[[Sequence[T]], Iterable[R]]
"""Takes items and yields what comes of them; made once, then called chunk after chunk."""


class Work(Protocol[T_contra, R_co]):
    """What is to be done, small and picklable: it travels to the workers."""

    def open(self) -> Worker[T_contra, R_co]:
        """Load what the work needs, once a worker.

        Raises:
            PseudoMaskError: it cannot be done here, and why; ends the whole map.
        """


@dataclass(frozen=True)
class Lost(Generic[T]):
    """An item that nothing can be made of: its worker died each time; how often, where, and what of."""

    item: T
    reason: str


@dataclass(frozen=True)
class Needs:
    """What a worker on another machine is given, and must have.

    Attributes:
        workers: how many; ``None`` for as many as there is room for.
        cpus: cores of each; ``None`` for what suits the machines.
        gpus: GPUs of each, also a part of one; ``None`` for one where there are any.
        versions: package -> version: what a worker must have to come to the same result.
    """

    workers: int | None = None
    cpus: float | None = None
    gpus: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """Does work; a context manager. Every item is done at least once, and answered exactly once.

    Attributes:
        apart: workers share no memory with this process, perhaps no machine.
        on_gpu: they have GPUs, as far as that is known before they run.
    """

    apart: bool
    on_gpu: bool

    def map(self, work: Work[T, R], items: Iterable[T], chunk: int) -> Iterator[R | Lost[T]]:
        """Yield what comes of the items, or :class:`Lost`, as it comes.

        Items are taken as workers have room; a worker is given a ``chunk`` of them at once.

        Raises:
            PseudoMaskError: workers cannot do the work, or die whatever they are given; names one of them.
        """

    def gather(self, work: Work[T, R], items: Iterable[T], chunk: int) -> Iterator[R | Lost[T]]:
        """Yield the same in the order of the items; what comes early waits, in bounded number."""

    def describe(self) -> str:
        """Return who is at work, in a few words for a progress bar; empty where there is nothing to say."""

    def __enter__(self) -> Engine: ...

    def __exit__(self, *error: object) -> None:
        """Let go of the workers, and stop what was started for them."""
