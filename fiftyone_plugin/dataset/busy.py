"""One at a time in a process: writing fields of a dataset, and loading it anew.

FiftyOne keeps one object a dataset and process. Loading it anew in one thread, as every request of the App
does, would take back fields that another thread has just added.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["alone"]

_locks: dict[str, threading.RLock] = defaultdict(threading.RLock)


@contextmanager
def alone(name: str | None, seconds: float = -1) -> Iterator[bool]:
    """Hold a dataset for this thread, and yield whether it is held; without a name, nothing needs to be held.

    It waits for ``seconds`` at most; negative: as long as it takes.
    """
    lock = _locks[name or ""]
    held = name is None or lock.acquire(timeout=seconds)
    try:
        yield held
    finally:
        if held and name is not None:
            lock.release()
