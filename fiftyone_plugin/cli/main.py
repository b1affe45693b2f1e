"""The ``pseudomask`` command: one subcommand a file in :mod:`fiftyone_plugin.cli`."""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
from collections.abc import Sequence

from .._version import __version__
from ..common.console import say
from ..common.memory import is_out_of_memory
from ..dataset.database import database_problem
from ..errors import PseudoMaskError
from . import shared
from .interrupts import interruptible

__all__ = ["build_parser", "main"]

COMMANDS = (
    "label",
    "join",
    "name",
    "suggest",
    "evaluate",
    "compare",
    "export",
    "import_",
    "explain",
    "demo",
    "methods",
    "cache",
    "plugin",
    "doctor",
)

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


def build_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the parser with these subcommands; each module offers ``add_parser`` and ``run``."""
    parser = shared.Parser(prog="pseudomask", description="Semantic pseudo-masks without labels.")
    parser.add_argument("--version", action="version", version=f"pseudomask {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in commands:
        module = importlib.import_module(f".{name}", __package__)
        module.add_parser(subparsers).set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; known errors become one line on stderr and an exit code, never a traceback.

    SIGTERM ends a command as Ctrl-C does: in order, with the exit code of an interruption.
    """
    argv = sys.argv[1:] if argv is None else argv
    args = build_parser(_asked_for(argv)).parse_args(argv)
    with interruptible() as interrupts:
        try:
            return int(args.run(args))
        except KeyboardInterrupt:
            return _interrupted(args)
        except Exception as error:
            # an interrupt in the middle of importing a compiled module comes out as that module's own error
            return _interrupted(args) if interrupts else _in_one_line(error)


def _asked_for(argv: Sequence[str]) -> Sequence[str]:
    """Return the module of the command that is named, so that no other is imported; all where none is."""
    if argv[:1] == ["--version"]:
        return ()
    return [name for name in COMMANDS if argv and name.rstrip("_") == argv[0]] or COMMANDS


def _interrupted(args: argparse.Namespace) -> int:
    say(f"pseudomask: interrupted{getattr(args, 'interrupted', '')}", error=True)
    return shared.Exit.INTERRUPTED


def _in_one_line(error: Exception) -> int:
    """Print an error that a person can do something about, and return the exit code; raise any other."""
    if isinstance(error, BrokenPipeError):
        return shared.Exit.DONE
    message = str(error) if isinstance(error, PseudoMaskError) else _problem(error)
    if message is None:
        raise error
    say(f"pseudomask: {message}", error=True)
    return shared.Exit.REFUSED


def _problem(error: Exception) -> str | None:
    """Return what a person should read of an error of the machine or the database; ``None`` for a bug."""
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:  # also of what stdout leads to
        return f"cannot write: {error}"
    if is_out_of_memory(error):
        return "not enough memory; close other programs, or give this one more"
    return database_problem(error)


if __name__ == "__main__":
    sys.exit(main())
