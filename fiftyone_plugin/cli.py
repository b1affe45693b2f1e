"""The ``pseudomask`` command: one subcommand a file in :mod:`fiftyone_plugin.commands`."""

from __future__ import annotations

import argparse
import errno
import importlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ._version import __version__
from .common.console import say
from .common.memory import is_out_of_memory
from .dataset.database import database_problem
from .errors import PseudoMaskError

__all__ = ["build_parser", "main"]

COMMANDS = (
    "label",
    "evaluate",
    "compare",
    "export",
    "import_",
    "explain",
    "demo",
    "cache",
    "plugin",
    "doctor",
)

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
EXIT_OK, EXIT_USAGE, EXIT_SKIPPED, EXIT_INTERRUPTED = 0, 2, 3, 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with every subcommand; each module offers ``add_parser`` and ``run``."""
    parser = argparse.ArgumentParser(prog="pseudomask", description="Semantic pseudo-masks without labels.")
    parser.add_argument("--version", action="version", version=f"pseudomask {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f".commands.{name}", __package__)
        module.add_parser(subparsers).set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; known errors become one line on stderr and an exit code, never a traceback.

    SIGTERM ends a command as Ctrl-C does: in order, with the exit code of an interruption.
    """
    args = build_parser().parse_args(argv)
    try:
        with _terminated_like_interrupted():
            return int(args.run(args) or EXIT_OK)
    except PseudoMaskError as error:
        say(f"pseudomask: {error}", error=True)
        return EXIT_USAGE
    except KeyboardInterrupt:
        advice = "; run the same command with --resume to go on" if hasattr(args, "resume") else ""
        print(f"pseudomask: interrupted{advice}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_OK
    except Exception as error:
        problem = _problem(error)
        if problem is None:
            raise
        say(f"pseudomask: {problem}", error=True)
        return EXIT_USAGE


def _problem(error: Exception) -> str | None:
    """Return what a person should read of an error of the machine or the database; ``None`` for a bug."""
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:  # also of what stdout leads to
        return f"cannot write: {error}"
    if isinstance(error, (MemoryError, ImportError, OSError)) and is_out_of_memory(error):
        return "not enough memory; close other programs, or give this one more"
    return database_problem(error)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM raise ``KeyboardInterrupt`` in a ``with`` block, where nobody has set another handler."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    main_thread = threading.current_thread() is threading.main_thread()  # others may not set handlers
    if not main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main())
