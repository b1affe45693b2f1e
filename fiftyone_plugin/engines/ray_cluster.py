"""The machines of a Ray cluster, or one that begins and ends with the work.

Plain actors and a loop, not Ray Data: an actor that died can be asked what it had in hand, which is how the
one image that kills its worker is found, and rows come back as they are made, without blocks of a table, a
shuffle or a block size in between.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any, TypeVar

from ..common.parallel import usable_cores
from ..errors import MissingDependencyError, UsageError
from .base import Lost, Needs, Work
from .chunks import in_order
from .ray_pool import Pool

__all__ = ["Ray"]

T = TypeVar("T")
R = TypeVar("R")
AUTO = "auto"
REACH_S = 5.0  # to find out whether somebody listens at an address; Ray itself tries for minutes
CORES = 4  # of a worker at most, where nobody says how many
STORE_BYTES = 256 << 20  # of the shared memory of a cluster of our own: only rows and features pass through
QUIET = {
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # what Ray would print of workers that died: it is told here
    "RAY_USAGE_STATS_ENABLED": "0",
}
OWN = {
    "RAY_worker_niceness": "0",  # Ray lowers the priority of workers, to that of nothing on a busy machine
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # bind to loopback, on Linux too
}


class Ray:
    """Workers on the machines of a cluster.

    The address is ``HOST:PORT``, or ``auto`` for the one that this machine is part of; ``None`` for the one
    that ``RAY_ADDRESS`` names, else one on this machine that ends with the work.

    Raises:
        MissingDependencyError: Ray is not installed.
    """

    apart = True

    def __init__(self, address: str | None, needs: Needs) -> None:
        self.address = address or os.environ.get("RAY_ADDRESS") or None
        self.needs = needs
        self.on_gpu = False
        self._pool: Pool | None = None
        self._connected = False
        own = {} if self.address else OWN
        for name, value in (QUIET | own).items():  # most is read when Ray is imported
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError as error:
            raise MissingDependencyError(
                "--engine ray needs Ray: pip install 'fiftyone-pseudomask[ray]', on every machine"
            ) from error
        self._ray = ray

    def __enter__(self) -> Ray:
        """Connect to the cluster, or start one.

        Raises:
            UsageError: there is none at the address, or it has another version of Ray or Python.
        """
        if not self._ray.is_initialized():
            self._connect()
            self._connected = True
        self.needs = self._fitting(self._ray.nodes())
        self.on_gpu = bool(self.needs.gpus)
        return self

    def __exit__(self, *error: object) -> None:
        """End the workers, and the cluster if it was started here."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        if self._connected:
            self._ray.shutdown()
            self._connected = False

    def map(self, work: Work[T, R], items: Iterable[T], chunk: int) -> Iterator[R | Lost[T]]:
        """Yield what comes of the items, as it comes."""
        return chain.from_iterable(found for _, found in self._answers(work, items, chunk))

    def gather(self, work: Work[T, R], items: Iterable[T], chunk: int) -> Iterator[R | Lost[T]]:
        """Yield what comes of the items, in their order."""
        return in_order(self._answers(work, items, chunk))

    def describe(self) -> str:
        """Return how many workers are at work."""
        return self._pool.describe() if self._pool is not None else ""

    def _answers(
        self, work: Work[T, R], items: Iterable[T], chunk: int
    ) -> Iterator[tuple[int, list[R | Lost[T]]]]:
        self._pool = self._pool or Pool(self.needs)
        yield from self._pool.answers(work, items, chunk)

    # ------------------------------------------------------------------ connecting

    def _connect(self) -> None:
        options: dict[str, Any] = {"address": self.address or "local"}
        if self.address is None:
            room = max(usable_cores(), self.needs.workers or 1)
            options |= {"num_cpus": room, "include_dashboard": False, "object_store_memory": STORE_BYTES}
        elif self.address != AUTO:
            _reach(self.address)
        try:
            with _own_sigterm():
                self._ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(
                f"no work can be given to Ray at {self.address or 'this machine'}: {reason}; --address takes "
                "HOST:PORT of a machine where `ray start --head` runs in the same versions of Python and "
                "Ray, or leave it out"
            ) from error

    def _fitting(self, nodes: list[dict[str, Any]]) -> Needs:
        """Return what workers are given, where nothing was said: as the machines have it."""
        resources = [node["Resources"] for node in nodes if node["Alive"]]
        gpus = self.needs.gpus
        if gpus is None:
            gpus = 1.0 if any(each.get("GPU") for each in resources) else 0.0
        cpus = self.needs.cpus
        if cpus is None:
            having = [each["CPU"] for each in resources if each.get("CPU") and each.get("GPU", 0) >= gpus]
            least = int(min(having, default=1))
            mine = self.address is None
            cpus = max(1, least // (self.needs.workers or 1)) if mine else max(1, min(CORES, least))
        return replace(self.needs, cpus=cpus, gpus=gpus)


def _reach(address: str) -> None:
    """Find out whether somebody listens at an address.

    Raises:
        UsageError: nobody does, or it is no address.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--address takes HOST:PORT of a Ray cluster, or auto, got {address!r:.100}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"nobody listens at {address}: {error}; start Ray there with `ray start --head`, check the "
            "address, or leave it out to work on this machine"
        ) from error


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this process's handler of SIGTERM, which Ray replaces."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
