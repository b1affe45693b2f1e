"""Runs a piece of code in a process of its own and lets something happen at its n-th operation.

    python tests/soak/faults.py EVENT N ROOT COUNT_FILE CODE_FILE

EVENT is what happens at operation N (counted from 1; 0: never): ``kill`` (SIGKILL), ``term`` (SIGTERM),
``enospc`` and ``eacces`` (that operation fails), ``database`` (the server whose process id is in
``FAULTS_MONGOD_PID`` is killed). Counted are changes to files below ROOT and commands to the database, each
before it takes place. COUNT_FILE gets the number of operations, and their names with ``FAULTS_TRACE`` set.
"""

from __future__ import annotations

import errno
import os
import runpy
import signal
import sys
from typing import Any

FILE_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
READ_ONLY = {"hello", "ping", "buildInfo", "endSessions", "isMaster", "saslStart", "getParameter"}


class Faults:
    """Counts operations and lets the event happen at the chosen one."""

    def __init__(self, event: str, number: int, root: str, count_file: str) -> None:
        self.event, self.number, self.root = event, number, os.path.realpath(root)
        self.count, self._busy = 0, False
        self._trace = bool(os.environ.get("FAULTS_TRACE"))
        self._log = os.open(count_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._pid = os.getpid()

    def audit(self, name: str, args: tuple[Any, ...]) -> None:
        if self._busy or os.getpid() != self._pid:
            return
        if name == "open" and isinstance(args[0], (str, bytes)):
            flags = args[2] if isinstance(args[2], int) else 0
            if flags & (os.O_WRONLY | os.O_RDWR) and self._below(args[0]):
                self.step(f"open {os.fsdecode(args[0])}")
        elif name in FILE_EVENTS and any(self._below(a) for a in args[:2]):
            self.step(f"{name} {args[0]!r}")

    def command(self, name: str) -> None:
        if name not in READ_ONLY:
            self.step(f"database {name}")

    def _below(self, path: Any) -> bool:
        if not isinstance(path, (str, bytes)):
            return False
        self._busy = True  # realpath must not be counted
        try:
            return os.path.realpath(os.fsdecode(path)).startswith(self.root + os.sep)
        finally:
            self._busy = False

    def step(self, what: str) -> None:
        self.count += 1
        line = f"{self.count} {what}\n" if self._trace else f"{self.count}\n"
        if self._trace:
            os.write(self._log, os.fsencode(line))
        else:
            os.pwrite(self._log, os.fsencode(line), 0)
        if self.count != self.number:
            return
        if self.event == "kill":
            os.kill(self._pid, signal.SIGKILL)
        elif self.event == "term":
            os.kill(self._pid, signal.SIGTERM)
        elif self.event == "database":
            os.kill(int(os.environ["FAULTS_MONGOD_PID"]), signal.SIGKILL)
        elif self.event in ("enospc", "eacces") and not what.startswith("database"):
            number = getattr(errno, self.event.upper())
            raise OSError(number, os.strerror(number), what)


def main() -> None:
    event, number, root, count_file, code = sys.argv[1:6]
    faults = Faults(event, int(number), root, count_file)
    sys.addaudithook(faults.audit)
    try:
        from pymongo import monitoring
    except ImportError:
        pass
    else:

        class Listener(monitoring.CommandListener):
            def started(self, event: Any) -> None:
                faults.command(event.command_name)

            def succeeded(self, event: Any) -> None: ...

            def failed(self, event: Any) -> None: ...

        monitoring.register(Listener())  # before FiftyOne makes its client
    sys.argv = sys.argv[5:]
    runpy.run_path(code, run_name="__main__")


if __name__ == "__main__":
    main()
