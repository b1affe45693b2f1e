"""Mapping over images with worker processes, in order and in bounded memory.

The processes end with the one that started them, and nobody hears of them when they do.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import PseudoMaskError

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

__all__ = ["Threads", "batched", "one_thread", "parallel_map", "starting_workers", "usable_cores"]

WATCH_S = 0.5  # between looks whether the parent is still there
HELD_BACK = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))
QUIET_TRACKER = "ignore:resource_tracker:UserWarning"

T = TypeVar("T")
R = TypeVar("R")


def usable_cores() -> int:
    """Return the number of cores this process may use (affinity and container limits counted)."""
    import joblib

    return int(joblib.cpu_count())


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS and OpenMP use one thread in a ``with`` block.

    Sums over threads differ in their last bits from run to run, and many small products are faster so. OpenMP
    counts for every thread that calls it; BLAS for the process, where the first block of those that overlap
    sets the limit and the last one takes it back.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].get_num_threads()  # its first work in a thread would set the number once more
    blas, openmp = _thread_pools(len(sys.modules))
    with openmp.limit(limits=1), _blas.limit(blas):
        yield


@lru_cache(maxsize=1)
def _thread_pools(n_modules: int) -> tuple[ThreadpoolController, ThreadpoolController]:
    """Return what controls the libraries of BLAS and of OpenMP that are loaded.

    Finding them takes 3 to 5 ms, as long as some of the blocks; they can only have become more where modules
    were imported since.
    """
    from threadpoolctl import ThreadpoolController

    pools = ThreadpoolController()
    return pools.select(user_api="blas"), pools.select(user_api="openmp")


class _SharedLimit:
    """One thread of BLAS for blocks of any threads that overlap, and as many as before after the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._limits: dict[ThreadpoolController, Any] = {}  # in the order in which they were set

    @contextmanager
    def limit(self, pools: ThreadpoolController) -> Iterator[None]:
        with self._lock:
            self._blocks += 1
            if pools not in self._limits:
                _take_over(pools)
                self._limits[pools] = pools.limit(limits=1)
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                while self._limits and not self._blocks:
                    pools, limit = self._limits.popitem()
                    _take_over(pools)
                    limit.restore_original_limits()
                    _take_over(pools)


def _take_over(pools: ThreadpoolController) -> None:
    """Let any thread set the limit: to threadpoolctl 3.8 it is that of the thread which did so first."""
    for library in pools.lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


_blas = _SharedLimit()


class Threads:
    """Threads for work that mostly leaves the interpreter (torch, numpy), as many as there are cores.

    A context manager; at its end the threads end. Each call has one thread of BLAS and OpenMP, so that its
    result does not depend on how many there are.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="each")

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def each(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Call a function for every item and return the results in order; the first error is raised."""

        def call(item: T) -> R:
            with one_thread():
                return function(item)

        with one_thread():  # BLAS has one number for all threads: the last one to end gives it back
            if len(items) < 2:
                return [function(item) for item in items]
            return list(self._pool.map(call, items))


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield consecutive lists of up to ``size`` items (``itertools.batched`` for Python < 3.12)."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def parallel_map(function: Callable[..., R], tasks: Sequence[tuple[object, ...]], n_jobs: int) -> list[R]:
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

    # What joblib says of tasks that an error or Ctrl-C has left: nobody could do anything about it. It says
    # so when its generator is let go of, which is after this function where a traceback still holds it.
    warnings.filterwarnings("ignore", message=".*tasks which were still being processed")
    # no memory-mapped copies of arguments: they are small, and a killed process would leave them behind
    settings: dict[str, Any] = {"batch_size": 1, "max_nbytes": None, "return_as": "generator"}
    try:
        with Parallel(n_jobs=n_jobs, backend=create_backend(), **settings) as pool:
            with starting_workers():
                results = pool(delayed(function)(*task) for task in tasks)  # starts them, does not wait
            return list(results)
    except BrokenProcessPool as error:
        raise PseudoMaskError(
            "a worker process was killed, most likely because memory ran short: use fewer --jobs"
        ) from error


# ---------------------------------------------------------------------- processes that end with this one


def end_with(parent: int) -> None:
    """End this process as soon as its parent is gone; called once in every worker.

    A parent that is killed can tell nobody, and loky's workers would wait five minutes for work. Linux has a
    signal for this (PR_SET_PDEATHSIG), but it comes when the parent's *thread* ends: workers that are used
    again by another thread, as in a server, would be killed at their work.
    """
    threading.Thread(target=_watch, args=(parent,), name="parent-watch", daemon=True).start()


def _watch(parent: int) -> None:
    if os.name == "nt":
        import _winapi  # there the parent's id stays when it is gone

        synchronize, forever = 0x00100000, 0xFFFFFFFF
        with suppress(OSError):  # gone before this began
            handle = _winapi.OpenProcess(synchronize, False, parent)  # type: ignore[attr-defined]
            _winapi.WaitForSingleObject(handle, forever)  # type: ignore[attr-defined]
    else:
        while os.getppid() == parent:
            time.sleep(WATCH_S)
    os._exit(1)


def create_backend() -> Any:
    """Return joblib's loky backend with workers that watch their parent, and that can be stopped at any time.

    When loky stops its workers, its own thread takes back the tasks that wait, and then looks for more: a
    task that was not yet with the workers is a ``KeyError`` there, printed, and a pool that is never tidied
    up. Hence such tasks are withdrawn first.
    """
    from joblib._parallel_backends import LokyBackend

    class Backend(LokyBackend):  # type: ignore[misc]
        def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
            options = {**options, "initializer": end_with, "initargs": (os.getpid(),)}
            _start_trackers()
            return int(super().configure(n_jobs=n_jobs, parallel=parallel, **options))

        def abort_everything(self, ensure_ready: bool = True) -> None:
            waiting = getattr(self._workers, "_work_ids", None)
            with suppress(queue.Empty):
                while waiting is not None:
                    waiting.get_nowait()
            super().abort_everything(ensure_ready=ensure_ready)

    return Backend()


def _start_trackers() -> None:
    """Start the processes that tidy up semaphores and folders, so that they do that without a word.

    They outlive a killed process, and would tell its terminal of every semaphore that it has left.
    """
    if os.name == "nt":
        return
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as of_loky

    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = f"{before},{QUIET_TRACKER}" if before else QUIET_TRACKER
    try:
        resource_tracker.ensure_running()
        of_loky.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


@contextmanager
def starting_workers() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the end of the block; processes started meanwhile never get one.

    A terminal sends Ctrl-C to every process of a command. The one that started the workers ends them, so they
    need not hear of it, and would print tracebacks: they inherit a signal mask that blocks it. That mask is
    this thread's alone, and the handler runs in the main thread whichever thread got the signal: hence one
    that only remembers it. An interrupt between the start of the workers and that of the thread that manages
    them would leave workers that nobody ends, and the process waits for them forever.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    _start_trackers()  # Python unblocks SIGINT when it starts one: before the mask is set
    # Python lets only the main thread set handlers, and calls them there only
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (HELD_BACK if main else ())}
    # others are the default, or not set by Python
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    received: list[int] = []
    for number in handlers:
        signal.signal(number, lambda number, frame: received.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in received[:1]:
            signal.raise_signal(number)
