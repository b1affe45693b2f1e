"""What a process and all its workers take: seconds, memory, disk. Seen from outside."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

EVERY_S = 0.25  # between looks at memory
DISK_EVERY = 8  # looks at memory for one at the disk, which takes longer


@dataclass(frozen=True)
class Watched:
    """What a command took.

    Attributes:
        seconds: from its start to its end.
        cpu: seconds of all cores, its workers included.
        memory: bytes that it and its workers held at most; what they share counts once on Linux.
        disk: bytes that the watched folders held at most.
    """

    seconds: float
    cpu: float
    memory: int
    disk: int


def watch(
    command: Sequence[str], folders: Sequence[Path] = (), env: Mapping[str, str] | None = None
) -> Watched:
    """Run a command to its end.

    Args:
        command: program and arguments.
        folders: whose bytes are watched; they need not be there.
        env: added to the environment.

    Raises:
        subprocess.CalledProcessError: it fails.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **(env or {})})
    watcher = _Watcher(process.pid, folders)
    watcher.start()
    try:
        code = process.wait()
    finally:
        seconds = time.perf_counter() - start
        watcher.stop()
    if code:
        raise subprocess.CalledProcessError(code, command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Watched(seconds, cpu, watcher.memory, watcher.disk)


class _Watcher(threading.Thread):
    def __init__(self, pid: int, folders: Sequence[Path]) -> None:
        super().__init__(daemon=True)
        self._pid, self._folders = pid, folders
        self._ended = threading.Event()
        self.memory = self.disk = 0

    def run(self) -> None:
        looks = 0
        while not self._ended.wait(EVERY_S):
            self.memory = max(self.memory, tree_memory(self._pid))
            if looks % DISK_EVERY == 0:
                self.disk = max(self.disk, sum(map(folder_bytes, self._folders)))
            looks += 1

    def stop(self) -> None:
        self._ended.set()
        self.join()


def tree_memory(pid: int) -> int:
    """Return the bytes that a process and its descendants hold now; 0 when it is gone."""
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        return sum(map(_held, [root, *root.children(recursive=True)]))
    return 0


def _held(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        if sys.platform == "linux":
            return int(process.memory_full_info().pss)
        return int(process.memory_info().rss)
    return 0


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder; links are not followed, files may vanish meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total
