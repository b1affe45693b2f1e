"""What the exit codes mean: the same for every command, and in the help of each."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["EXIT_CODES", "Exit"]


class Exit(IntEnum):
    """Exit codes of ``pseudomask``; :data:`EXIT_CODES` says in words what each means."""

    DONE = 0
    MISSING = 1
    REFUSED = 2
    LEFT_OUT = 3
    INTERRUPTED = 130


EXIT_CODES = {
    Exit.DONE: "done",
    Exit.MISSING: "`doctor`: something essential is missing here",
    Exit.REFUSED: "the request cannot be met, one line says why",
    Exit.LEFT_OUT: "done, but something was left out and listed (label, demo, export: only with --strict)",
    Exit.INTERRUPTED: "interrupted by Ctrl-C or SIGTERM",
}
