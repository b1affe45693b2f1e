"""Mapping over images with worker processes, in order and in bounded memory."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import PseudoMaskError

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

__all__ = ["batched", "one_thread", "parallel_map", "usable_cores"]

T = TypeVar("T")
R = TypeVar("R")


def usable_cores() -> int:
    """Return the number of cores this process may use (affinity and container limits counted)."""
    import joblib

    return int(joblib.cpu_count())


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS and OpenMP use one thread in a ``with`` block.

    Sums over threads differ in their last bits from run to run, and many small products are faster so.
    """
    with _thread_pools(len(sys.modules)).limit(limits=1):
        yield


@lru_cache(maxsize=1)
def _thread_pools(n_modules: int) -> ThreadpoolController:
    """Return what controls the libraries that are loaded.

    Finding them takes 3 to 5 ms, as long as some of the blocks; they can only have become more where modules
    were imported since.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield consecutive lists of up to ``size`` items (``itertools.batched`` for Python < 3.12)."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def parallel_map(function: Callable[..., R], tasks: list[tuple[Any, ...]], n_jobs: int) -> list[R]:
    """Call ``function(*task)`` for every task in worker processes and return the results in order.

    joblib's loky workers are reused between calls, need no ``if __name__ == "__main__"`` in the caller's
    script, and are not forked from a process that runs torch threads. Use it for chunks of a stream.

    Args:
        function: module-level function; must be importable in the workers.
        tasks: argument tuples, picklable.
        n_jobs: number of processes; 1 stays in this process, 0 or less means all usable cores.

    Raises:
        PseudoMaskError: a worker was killed.
    """
    n_jobs = n_jobs if n_jobs > 0 else usable_cores()
    if n_jobs == 1 or len(tasks) < 2:
        return [function(*task) for task in tasks]
    from concurrent.futures.process import BrokenProcessPool

    from joblib import Parallel, delayed

    from .workers import create_backend, starting_workers

    try:
        # no memory-mapped copies of arguments: they are small, and a killed process would leave them behind
        with (
            warnings.catch_warnings(),
            Parallel(
                n_jobs=n_jobs,
                backend=create_backend(),
                batch_size=1,
                max_nbytes=None,
                return_as="generator",
            ) as pool,
        ):
            # what joblib says of tasks that an error or Ctrl-C has left: nobody could do anything about it
            warnings.filterwarnings("ignore", message=".*tasks which were still being processed")
            with starting_workers():
                results = pool(delayed(function)(*task) for task in tasks)  # starts them, does not wait
            return list(results)
    except BrokenProcessPool as error:
        raise PseudoMaskError(
            "a worker process was killed, most likely because memory ran short: use fewer --jobs"
        ) from error
