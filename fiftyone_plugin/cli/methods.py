"""``pseudomask methods``: which methods there are, and what each can be told."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from ..common.console import say
from ..errors import unknown
from ..methods.registry import CATALOG, describe
from . import shared

SETTINGS = {"n_classes": "--classes", "random_state": "--seed", "refine": "--refine", "n_jobs": "--jobs"}
"""Options of methods that are settings of every run, so that --set does not take them."""


def method_notes() -> dict[str, str]:
    """Return method -> one line about how it works."""
    return {name: note.note for name, note in CATALOG.items()}


def check_options(method: str, names: Iterable[str]) -> None:
    """Check the names given with ``--set``.

    Raises:
        UsageError: the method has no such option; names the nearest.
    """
    known = {option.name for option in describe(method)} if (names := list(names)) else set()
    for name in names:
        if name not in known and name not in SETTINGS:
            raise unknown(f"option of {method}", name, sorted(known))


@shared.command(
    "methods",
    help="list the methods, or the options of one",
    description="List the methods; with NAME, the options of that method, their defaults and what they "
    "do. They are given as --set OPTION=VALUE to `label`, or as options={...} in Python.",
    json="the list",
    quiet=False,
)
def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``methods``."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a method")


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    notes = method_notes()
    options = describe(args.name) if args.name else []
    if not shared.finish(args, lambda: [option._asdict() for option in options] if args.name else notes):
        return shared.Exit.DONE
    if not args.name:
        costs = {name: f"{note.note}. Cost: {note.cost}" for name, note in CATALOG.items()}
        say(*shared.listed(costs).splitlines(), "", "pseudomask methods NAME lists the options of one")
        return shared.Exit.DONE
    say(f"{args.name}: {notes[args.name]}", "", "options, with --set OPTION=VALUE:")
    known = {f"{each.name}={each.default}": f"{each.help} ({each.allowed})" for each in options}
    say(*shared.listed(known).splitlines())
    say("", "settings of every run: " + ", ".join(sorted(SETTINGS.values())))
    return shared.Exit.DONE
