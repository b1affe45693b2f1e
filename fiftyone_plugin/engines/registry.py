"""The engines by name, the one that needs no cluster, and how one is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TypeVar

from .._version import DISTRIBUTION
from ..common.parallel import batched, parallel_map
from ..errors import UsageError, unknown
from .base import Engine, Needs, Work

__all__ = ["ENGINES", "create_engine", "engine_for_files", "engines_here", "versions_needed"]

ENGINES = ("local", "ray")
CHUNKS = 8  # a process of this machine gets before results are asked for
PACKAGES = (DISTRIBUTION, "torch", "timm", "numpy", "scikit-learn", "scipy", "pillow")
T = TypeVar("T")
R = TypeVar("R")


class Local:
    """This machine: the process itself, or ``jobs`` worker processes that :meth:`gather` uses."""

    apart = False
    on_gpu = False

    def __init__(self, jobs: int = 1) -> None:
        self.jobs = jobs

    def map(self, work: Work[T, R], items: Iterable[T], chunk: int) -> Iterator[R]:
        """Yield what comes of the items from one worker, in this process; it spreads its work itself."""
        yield from work.open()(list(items))

    def gather(self, work: Work[T, R], items: Iterable[T], chunk: int) -> Iterator[R]:
        """Yield what comes of the items, in their order, from worker processes."""
        for group in batched(batched(items, chunk), CHUNKS * self.jobs if self.jobs > 1 else 1):
            for found in parallel_map(_do, [(work, part) for part in group], self.jobs):
                yield from found

    def describe(self) -> str:
        """Return nothing."""
        return ""

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def _do(work: Work[T, R], items: Sequence[T]) -> list[R]:
    return list(work.open()(items))


def versions_needed() -> dict[str, str]:
    """Return package -> version here, this package first: what workers need to come to the same bytes."""
    found = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):  # a checkout that is not installed
            found[package] = version(package)
    return found


def engines_here() -> list[str]:
    """Return the engines whose packages are installed."""
    return [name for name in ENGINES if name == "local" or find_spec(name) is not None]


def create_engine(
    name: str = "local", *, address: str | None = None, needs: Needs | None = None, jobs: int = 1
) -> Engine:
    """Return an engine, not yet connected; one without a cluster has so many processes as ``jobs`` says.

    The address of a cluster is ``HOST:PORT``, or ``auto`` for the one that this machine is part of; ``None``
    stands for one that begins and ends with the work.

    Raises:
        UsageError: there is no such engine, or it has no cluster.
        MissingDependencyError: its package is not installed.
    """
    if name not in ENGINES:
        raise unknown("engine", name, ENGINES)
    given = [word for word in ("workers", "cpus", "gpus") if needs and getattr(needs, word) is not None]
    if name == "local":
        if address or given:
            what = "an address" if address else f"a number of {given[0]} for workers"
            raise UsageError(f"{what} is for an engine over machines: --engine ray")
        return Local(jobs)
    from .ray_cluster import Ray

    return Ray(address, needs or Needs())


def engine_for_files(
    engine: str, address: str | None, workers: int | None, cpus_per_worker: int | None, jobs: int = 1
) -> Engine:
    """Return an engine for work that needs no GPU, such as reading and writing masks; see `create_engine`."""
    for name, value in {"workers": workers, "cpus_per_worker": cpus_per_worker}.items():
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    needs = Needs(workers, cpus_per_worker)
    if engine != "local":
        needs = Needs(workers, cpus_per_worker or 1, 0.0, versions_needed())
    return create_engine(engine, address=address, needs=needs, jobs=jobs)
