"""The servers that tests start: a folder for what they write, ports of their own, and a sure end."""

from __future__ import annotations

import atexit
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

#: Everything that a test process writes lies here; removed at its end.
ROOT = Path(tempfile.mkdtemp(prefix="pseudomask-test-"))

_processes: list[subprocess.Popen] = []


class Port:
    """A free port of 127.0.0.1, held until a server takes it."""

    def __init__(self) -> None:
        self._holder = socket.socket()
        self._holder.bind(("127.0.0.1", 0))
        self.number: int = self._holder.getsockname()[1]

    def release(self) -> str:
        """Let go of the port, and return its number as text."""
        self._holder.close()
        return str(self.number)


def spawn(command: list[str], log: str, deathsig: str = "TERM", **options) -> subprocess.Popen:
    """Start a server that ends with this process, even when that is killed; ``log`` gets what it prints."""
    if shutil.which("setpriv"):
        command = ["setpriv", "--pdeathsig", deathsig, *command]
    with (ROOT / log).open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, **options
        )
    _processes.append(process)
    return process


def stop(process: subprocess.Popen) -> None:
    """Ask a server to end, and end it after ten seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(
    process: subprocess.Popen, log: str, ready: Callable[[], object], seconds: float
) -> None:
    """Wait until ``ready`` raises no OSError any more."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            ready()
            return
        except OSError:
            time.sleep(0.05)
    tail = (ROOT / log).read_text(errors="replace")[-2000:]
    raise RuntimeError(f"{process.args} is not ready (exit code {process.poll()}):\n{tail}")


@atexit.register
def _leave_nothing() -> None:
    # Not a fixture's teardown: FiftyOne's own exit hook talks to the database, and waits 30 s for one that is
    # gone. Exit hooks run last in, first out, and this one is registered before FiftyOne is imported.
    for process in reversed(_processes):
        stop(process)
    shutil.rmtree(ROOT, ignore_errors=True)
