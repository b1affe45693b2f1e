"""The workers on a Ray cluster: started, given work, kept for the next work, and replaced when they die."""

from __future__ import annotations

import logging
import math
import pickle
import time
from collections.abc import Iterable, Sized
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import PseudoMaskError, UsageError
from .base import Needs, Work
from .chunks import Answers, Chunks, Task

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

__all__ = ["Pool"]

logger = logging.getLogger(__name__)

IN_HAND = 2  # tasks of a worker: while it does one, the next is there
AHEAD = 8  # chunks a worker, that may be begun while an earlier one is not done
STEP_S = 0.5  # between looks whether somebody wants to interrupt
GROW_S = 5.0  # between looks whether machines have joined
ROOM_S = 600.0  # to wait for a machine that has room for a worker; one that is rented takes minutes
SAY_S = 15.0  # without any worker, until that is said
DEATHS = 20  # in a row without any result
HANG_S = 3600.0  # at one task, until its worker counts as dead: a disk or store that never answers
STILLBORN = 3  # deaths of workers before they began, for each that is wanted


@dataclass(eq=False)
class _Member:
    """A worker process; ``opening`` until it has loaded the work, at its oldest task since ``since``."""

    handle: ActorHandle
    opening: ObjectRef | None = None
    where: str = "a machine"
    node: str = ""
    tasks: dict[ObjectRef, Task] = field(default_factory=dict)
    since: float = 0.0


class Pool:
    """Workers, and the work that they have loaded; ``cpus`` and ``gpus`` of what they need are known."""

    def __init__(self, needs: Needs) -> None:
        import ray

        self._ray = ray
        self._needs = needs
        self._work: ObjectRef | None = None
        self._loaded = b""
        self._class = ray.remote(_worker_class())
        self._members: list[_Member] = []
        self._given_up = 0
        self._deaths = self._stillborn = 0
        self._most = math.inf
        self._looked = self._lonely_since = time.monotonic()
        self._room = 0
        self._said = False

    def answers(self, work: Work[Any, Any], items: Iterable[object], size: int) -> Answers:
        """Yield the number and the answers of every chunk, as they come.

        Workers that have another work loaded are given this one.

        Raises:
            UsageError: a worker cannot do the work, or no machine has room for one.
            PseudoMaskError: workers die whatever they are given, or no disk takes what they write.
        """
        self._room = self._room_now()
        wanted = self._needs.workers or max(1, self._room)
        if isinstance(items, Sized):
            size = max(1, min(size, math.ceil(len(items) / (IN_HAND * wanted))))
            self._most = math.ceil(len(items) / size)
        self._load(work)
        chunks = Chunks(items, size, AHEAD * max(wanted, 4))
        try:
            while True:
                self._hand_out(chunks)
                if chunks.done:
                    return
                self._grow()
                yield from self._step(chunks)
                yield from self._hanging(chunks)
        finally:
            for member in list(self._members):
                if member.tasks:  # for which nobody waits any more
                    self._members.remove(member)
                    self._kill(member)

    def _load(self, work: Work[Any, Any]) -> None:
        order = pickle.dumps(work)
        self._lonely_since, self._said = time.monotonic(), False
        if order == self._loaded:
            return
        self._loaded, self._work = order, self._ray.put(order)
        for member in self._members:
            self._open(member)

    def _open(self, member: _Member) -> None:
        cores = max(1, int(self._needs.cpus or 1))
        member.opening = member.handle.open.remote(self._work, dict(self._needs.versions), cores)

    def describe(self) -> str:
        """Return how many workers are at work."""
        count = sum(member.opening is None for member in self._members)
        return f"{count} worker{'s' * (count != 1)}"

    def close(self) -> None:
        """End the workers."""
        for member in self._members:
            self._kill(member)
        self._members.clear()

    # ------------------------------------------------------------------ workers

    def _grow(self) -> None:
        """Start the workers that are missing: some have died, or machines have joined."""
        now = time.monotonic()
        if now - self._looked > GROW_S:
            self._looked, self._room = now, self._room_now()
        wanted = self._needs.workers or max(1, self._room)
        while len(self._members) < min(wanted - self._given_up, self._most):
            options = {"num_cpus": self._needs.cpus, "num_gpus": self._needs.gpus or 0}
            handle = self._class.options(**options, max_restarts=0, scheduling_strategy="SPREAD").remote()
            member = _Member(handle)
            self._open(member)
            self._members.append(member)
        if any(member.opening is None for member in self._members):
            self._lonely_since, self._said = now, False
        elif now - self._lonely_since > SAY_S:
            self._speak_of_room(now - self._lonely_since)

    def _room_now(self) -> int:
        """Return how many workers the machines have room for that are there now."""
        asked = {"CPU": self._needs.cpus or 0, "GPU": self._needs.gpus or 0}
        return sum(
            min(int(node["Resources"].get(name, 0) / each) for name, each in asked.items() if each)
            for node in self._ray.nodes()
            if node["Alive"] and any(asked.values())
        )

    def _speak_of_room(self, waited: float) -> None:
        """Say that no machine has room for a worker, once; after a long time end the wait."""
        if self._room:  # they are starting
            return
        have = {name: self._ray.cluster_resources().get(name, 0) for name in ("CPU", "GPU")}
        text = (
            f"no machine of the cluster has room for a worker of {self._needs.cpus:g} CPUs and "
            f"{self._needs.gpus or 0:g} GPUs; all together have {have['CPU']:g} and {have['GPU']:g}"
        )
        if waited > ROOM_S:
            raise UsageError(f"{text}. Ask for less with --cpus-per-worker and --gpus-per-worker")
        if not self._said:
            self._said = True
            logger.warning("%s. Waiting for one to join", text)

    def _kill(self, member: _Member) -> None:
        self._ray.kill(member.handle, no_restart=True)

    # ------------------------------------------------------------------ work

    def _hand_out(self, chunks: Chunks) -> None:
        for load in range(IN_HAND):
            for member in self._members:
                busy = member.opening is not None or any(task.suspect for task in member.tasks.values())
                if busy or len(member.tasks) != load:
                    continue
                if (task := chunks.take()) is None:
                    return
                if load and task.suspect:
                    chunks.give_back(task)
                    return
                if not member.tasks:
                    member.since = time.monotonic()
                member.tasks[member.handle.do.remote(task.items)] = task

    def _step(self, chunks: Chunks) -> Answers:
        """Wait for news of any worker, and take all there is."""
        of: dict[ObjectRef, _Member] = {}
        for member in self._members:
            if member.opening is not None:
                of[member.opening] = member
            of |= dict.fromkeys(member.tasks, member)
        if not of:
            time.sleep(STEP_S)
            return
        ready, _ = self._ray.wait(list(of), num_returns=1, timeout=STEP_S)
        if ready:
            ready, _ = self._ray.wait(list(of), num_returns=len(of), timeout=0)
        news = set(ready)
        for ref, member in of.items():  # of one worker the oldest first: that is to blame where it has died
            if ref in news and member in self._members:
                yield from self._news(ref, member, chunks)

    def _news(self, ref: ObjectRef, member: _Member, chunks: Chunks) -> Answers:
        try:
            answer = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            # what it had begun is to blame, unless its machine is gone
            alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
            gone = "node has died" in str(error) or member.node not in alive
            yield from self._without_result(member, chunks, self._reason(member, error), gone=gone)
            return
        if "error" in answer:
            yield from self._failed(member, chunks, answer)
        elif ref == member.opening:
            member.where, member.node, member.opening = answer["where"], answer["node"], None
        else:
            self._deaths = self._stillborn = 0
            member.since = time.monotonic()
            yield from chunks.answer(member.tasks.pop(ref), answer["found"])

    def _without_result(self, member: _Member, chunks: Chunks, reason: str, *, gone: bool = False) -> Answers:
        began = member.opening is None
        begun = self._without(member, chunks)
        self._deaths += 1
        self._stillborn += not began
        most = STILLBORN * len(self._members or [member])
        if self._deaths > DEATHS or self._stillborn > most:
            raise PseudoMaskError(
                f"workers die one after the other without a result, the last one so: {reason}. What is done "
                "is kept: --resume goes on with it"
            )
        for task in begun:
            if gone and began:
                chunks.give_back(task)
            else:
                yield from chunks.died(task, reason)

    def _hanging(self, chunks: Chunks) -> Answers:
        """End workers that do not come to the end of a task."""
        late = time.monotonic() - HANG_S
        for member in [one for one in self._members if one.tasks and one.since < late]:
            self._kill(member)
            reason = f"{member.where} gave no answer for {HANG_S:.0f} s"
            yield from self._without_result(member, chunks, reason)

    def _failed(self, member: _Member, chunks: Chunks, answer: dict[str, str]) -> Answers:
        """Answer an error that a worker tells of."""
        text, kind = f"the worker on {answer['where']}: {answer['error']}", answer["kind"]
        if kind not in ("disk", "memory"):
            raise {"usage": UsageError, "refused": PseudoMaskError}.get(kind, RuntimeError)(text)
        begun = self._without(member, chunks)
        self._kill(member)
        if kind == "memory" and begun:
            self._deaths += 1
            yield from chunks.died(begun[0], f"memory ran short on {answer['where']}")
            return
        self._given_up += 1
        if not self._members:
            raise PseudoMaskError(f"{text}; mend that and use --resume: what is done is kept")
        logger.warning("%s. The others go on without it", text)
        for task in begun:
            chunks.give_back(task)

    def _without(self, member: _Member, chunks: Chunks) -> list[Task]:
        """Strike a worker off the list, and take back what it has not begun; returns what it had, if any."""
        self._members.remove(member)
        tasks = list(member.tasks.values())
        for task in reversed(tasks[1:]):
            chunks.give_back(task)
        return tasks[:1]

    def _reason(self, member: _Member, error: Exception) -> str:
        """Return in words what a worker has died of."""
        where, text = member.where, str(error)
        if isinstance(error, self._ray.exceptions.OutOfMemoryError) or "running low on memory" in text:
            return f"memory ran short on {where}"
        if "node has died" in text:
            return f"the machine of {where} is gone"
        _, _, detail = text.partition("Worker exit detail: ")
        return f"{where} ended without a word{': ' if detail else ''}{detail.split('. ')[0].strip()}"


def _worker_class() -> type:
    """Return the class of the actors, which run in the worker processes.

    It is made in a function so that it travels by value: a machine that lacks this package, or has another
    version of it, can then say so in words. Hence nothing is used in it that it does not import itself.
    """

    class PseudoMaskWorker:
        def open(self, work: bytes, versions: dict[str, str], cores: int) -> dict[str, str]:
            """Load the work; returns ``where`` and ``node``, or ``error`` besides."""
            import os
            import pickle
            import socket

            import ray

            self.answer = {
                "where": f"{socket.gethostname()} (process {os.getpid()})",
                "node": ray.get_runtime_context().get_node_id(),
            }
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded
            os.environ["LOKY_MAX_CPU_COUNT"] = str(cores)  # what joblib counts as cores
            if unlike := self.unlike(versions):
                return {**self.answer, "error": unlike, "kind": "usage"}
            self.work: Any = None  # what was loaded before goes first
            try:
                self.work = pickle.loads(work).open()
            except Exception as error:
                return self.failure(error)
            return self.answer

        def unlike(self, versions: dict[str, str]) -> str:
            """Return how the packages here differ; empty where they do not."""
            from importlib.metadata import PackageNotFoundError, version

            for name, wanted in versions.items():
                try:
                    found = version(name)
                except PackageNotFoundError:
                    found = "none"
                if found != wanted:
                    return (
                        f"has {name} {found}, this process {wanted}, and masks depend on it: install the "
                        f"same on all machines, pip install {name}=={wanted}"
                    )
            return ""

        def do(self, items: list[object]) -> dict[str, Any]:
            """Do the work on items; returns what was ``found``, or an ``error``."""
            try:
                return {"found": list(self.work(items))}
            except Exception as error:
                return self.failure(error)

        def failure(self, error: Exception) -> dict[str, str]:
            """Return an error as text, and what kind it is of."""
            import traceback

            from fiftyone_plugin.common.memory import is_out_of_memory
            from fiftyone_plugin.errors import PseudoMaskError, UsageError

            kinds = {UsageError: "usage", PseudoMaskError: "refused", OSError: "disk", Exception: "bug"}
            kind = next(word for cause, word in kinds.items() if isinstance(error, cause))
            kind = "memory" if is_out_of_memory(error) else kind
            text = "".join(traceback.format_exception(error)) if kind == "bug" else str(error)
            return {**self.answer, "error": text, "kind": kind}

    return PseudoMaskWorker
