"""What all commands share: a parser without abbreviations that answers typos, and the common options."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..common.console import say
from ..common.files import write_json
from ..common.progress import CheckedProgress, ConsoleProgress, NullProgress, Progress
from ..common.remote import folder_of, url_of
from ..engines.registry import ENGINES
from ..errors import did_you_mean, without_secrets
from .interrupts import raise_if_interrupted

if TYPE_CHECKING:
    from typing import TypeAlias

    import fiftyone as fo

    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]
    AddArguments: TypeAlias = Callable[[argparse.ArgumentParser], None]
    AddParser: TypeAlias = Callable[[Subparsers], argparse.ArgumentParser]

__all__ = ["EXIT_CODES", "Exit", "Parser", "Renamed", "add_command", "add_engine", "add_json", "add_out"]
__all__ += ["add_quiet", "chosen", "command", "dataset_named", "engine_settings", "finish", "list_skipped"]
__all__ += ["listed", "package_folder", "progress_of"]

FIFTYONE = "fiftyone:"
STDOUT = "-"
LISTED = 20
WIDTH = 92

_CHOICE = re.compile(r"invalid choice: '?(.*?)'? \(choose from (.*)\)")


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


class Parser(argparse.ArgumentParser):
    """Takes options by their whole names only; for a word that it does not know it names the nearest."""

    def __init__(self, **options: Any) -> None:
        options = {"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter, **options}
        super().__init__(**options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; what is left over is an error of this very command."""
        parsed, left = super().parse_known_args(args, namespace)
        if left:
            flag = next((word for word in left if word.startswith("-")), left[0]).partition("=")[0]
            self.error(f"unknown argument {flag!r}{did_you_mean(flag, self._option_string_actions)}")
        return parsed, left

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, with the nearest of the words that would do, and exit with 2."""
        if found := _CHOICE.search(message):
            choices = [choice.strip(" '\"") for choice in found[2].split(",")]
            message += did_you_mean(found[1], choices)
        self.exit(Exit.REFUSED, f"{self.prog}: error: {message}\nsee {self.prog} --help\n")


class Renamed(argparse.Action):
    """The name that an option had in the last release: still taken, with a warning, for one more."""

    def __init__(self, option_strings: Sequence[str], dest: str, now: str, nargs: str | None = None) -> None:
        super().__init__(option_strings, now.lstrip("-"), nargs, help=argparse.SUPPRESS)
        self.now = now

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, *_: object
    ) -> None:
        """Keep the value for the option of the new name."""
        old = self.option_strings[0]
        say(f"{parser.prog}: {old} is called {self.now} now; elsewhere {old} is the number K", error=True)
        setattr(namespace, self.dest, values)


def listed(names: Mapping[str, str]) -> str:
    """Return names with their notes, a line each, for the end of a help text."""
    width = max(map(len, names))
    return "\n".join(f"  {name:<{width}}  {note}" for name, note in names.items())


def add_command(
    subparsers: Subparsers, name: str, help: str, description: str = "", notes: str = ""
) -> argparse.ArgumentParser:
    """Add a subcommand; its help begins with ``description``, else ``help``, and ends with ``notes``."""
    text = description or f"{help[0].upper()}{help[1:]}."
    codes = "exit codes:\n" + listed({str(int(code)): words for code, words in EXIT_CODES.items()})
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=help,
        description=textwrap.fill(text, WIDTH),
        epilog=f"{notes}\n\n{codes}" if notes else codes,
    )
    return parser


def command(
    name: str,
    help: str,
    description: str = "",
    notes: str = "",
    *,
    json: str = "",
    quiet: bool = True,
    gpus: bool | None = None,
) -> Callable[[AddArguments], AddParser]:
    """Make of a function that adds arguments one that adds the command, with what many share at the end.

    That is --json if ``json`` says of what, --quiet, and, unless ``gpus`` is ``None``, where work is done.
    """

    def whole(add_arguments: AddArguments) -> AddParser:
        def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
            parser = add_command(subparsers, name, help, description, notes)
            add_arguments(parser)
            if json:
                add_json(parser, json)
            if quiet:
                add_quiet(parser)
            if gpus is not None:
                add_engine(parser, gpus=gpus)
            return parser

        return add_parser

    return whole


def package_folder(name: str) -> Path | None:
    """Return the folder of an installed package, without importing it; ``None`` where it is not there."""
    spec = importlib.util.find_spec(name)
    folders = (spec and spec.submodule_search_locations) or ()
    return next(map(Path, folders), None)


def folder(text: str) -> Path:
    """Return a folder, here or in a store, as its option's type."""
    return folder_of(text)


def here(text: str) -> Path:
    """Return a folder of this machine, as its option's type."""
    if url_of(text) is not None:
        raise argparse.ArgumentTypeError(
            f"{without_secrets(text)} is in a store; name a folder of this machine"
        )
    return Path(text)


def add_out(
    parser: argparse.ArgumentParser,
    what: str,
    *,
    required: bool = True,
    group: argparse._ActionsContainer | None = None,
    old: str = "",
    stores: bool = False,
) -> None:
    """Add ``--out`` and, to ``group``, ``--overwrite``, of which ``old`` is another name.

    The last word of ``what``, which is written there, is what ``--overwrite`` replaces. With ``stores`` the
    folder may be an address.
    """
    kind = folder if stores else here
    parser.add_argument("--out", required=required, type=kind, metavar="DIR", help=f"folder for {what}")
    names = ["--overwrite", *([old] if old else [])]
    text = f"replace an earlier {what.split()[-1]} in DIR"
    (group or parser).add_argument(*names, action="store_true", help=text)


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--json``; ``what`` is written to it."""
    text = f"write {what} as JSON; - or no FILE: to stdout, and nothing else there"
    parser.add_argument("--json", nargs="?", const=STDOUT, metavar="FILE", help=text)


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add ``--quiet``."""
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bars, no summary")


ENGINE_SETTINGS = ("engine", "address", "workers", "gpus_per_worker", "cpus_per_worker")


def add_engine(parser: argparse.ArgumentParser, *, gpus: bool) -> None:
    """Add where the work is done; :func:`engine_settings` reads it back."""
    add = parser.add_argument_group("machines, see docs/scale.md").add_argument
    add("--engine", choices=ENGINES, default="local", help="this machine, or a Ray cluster (default: local)")
    text = "with --engine ray: HOST:PORT, or auto on a machine of it (default: one on this machine)"
    add("--address", metavar="HOST:PORT", help=text)
    add("--workers", type=int, metavar="N", help="worker processes (default: as there is room)")
    if gpus:
        text = "GPUs of each, also a part of one (default: 1 where there are any)"
        add("--gpus-per-worker", type=float, metavar="F", help=text)
    text = f"cores of each (default: {'up to 4' if gpus else '1'})"
    add("--cpus-per-worker", type=int, metavar="N", help=text)


def chosen(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the values of these options."""
    return {name: getattr(args, name) for name in names}


def engine_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what :func:`add_engine` added."""
    return chosen(args, *(name for name in ENGINE_SETTINGS if name in args))


def progress_of(args: argparse.Namespace) -> Progress:
    """Return where progress goes: to stderr, unless ``--quiet``."""
    return CheckedProgress(NullProgress() if args.quiet else ConsoleProgress(), raise_if_interrupted)


def finish(args: argparse.Namespace, document: Callable[[], object]) -> bool:
    """Write what ``--json`` asks for, whole or not at all; returns whether a summary may be printed."""
    if args.json == STDOUT:
        print(json.dumps(document(), indent=2, default=str))
    elif args.json:
        write_json(Path(args.json), document(), sort_keys=False)
    return args.json != STDOUT and not getattr(args, "quiet", False)


def list_skipped(lines: Iterable[str], more: str = "") -> None:
    """Print what was left out on stderr: the first lines, and how many more there are and where."""
    every = list(lines)
    say(*every[:LISTED], error=True)
    if len(every) > LISTED:
        say(f"... and {len(every) - LISTED} more{more}", error=True)


def dataset_named(text: str) -> fo.Dataset | None:
    """Return the FiftyOne dataset that ``fiftyone:NAME`` names; ``None`` for any other text.

    Raises:
        UsageError: there is no such dataset.
    """
    if not text.startswith(FIFTYONE):
        return None
    from ..dataset.record import load_dataset

    return load_dataset(text.removeprefix(FIFTYONE))
