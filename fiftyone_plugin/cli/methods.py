"""``pseudomask methods``: which methods there are, and what each can be told."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ..common.console import say
from ..errors import unknown
from ..methods.catalog import CATALOG
from . import shared
from .exits import Exit

__all__ = ["Option", "add_parser", "check_options", "describe", "method_notes", "run"]

SETTINGS = {"n_classes": "--classes", "random_state": "--seed", "refine": "--refine", "n_jobs": "--jobs"}
"""Options of methods that are settings of every run, so that --set does not take them."""


@dataclass(frozen=True)
class Option:
    """What a method can be told with ``--set NAME=VALUE`` or ``options={name: value}``.

    Attributes:
        name: of the option.
        default: JSON-serialisable.
        text: one line.
    """

    name: str
    default: Any
    text: str


def method_notes() -> dict[str, str]:
    """Return method -> one line about how it works and what it costs."""
    return {name: note.note for name, note in CATALOG.items()}


def describe(name: str) -> list[Option]:
    """Return the options of a method, with their defaults.

    Raises:
        UsageError: unknown method.
    """
    from ..methods.registry import create_method

    if name not in CATALOG:
        raise unknown("method", name, CATALOG)
    method = create_method(name)
    texts = _documented(inspect.getdoc(type(method)) or "")
    options = method.get_config().items()
    return [Option(key, default, texts.get(key, "")) for key, default in options if key not in SETTINGS]


def _documented(doc: str) -> dict[str, str]:
    """Return argument -> first sentence, from the section "Args" of a docstring."""
    section = re.split(r"\n(?=\w+:\n)", doc.partition("Args:\n")[2])[0]
    name = r" *(?:\* ``)?(\w+)(?:``)?: "
    rest = r"(.*(?:\n(?! *(?:\* ``)?\w+(?:``)?: | *\n).*)*)"
    return {key: _first_sentence(text) for key, text in re.findall(f"^{name}{rest}", section, re.M)}


def _first_sentence(text: str) -> str:
    sentence = re.split(r"(?<=\w\w)\. |[,;:] see :", " ".join(text.split()))[0]
    return sentence.replace("``", "").rstrip(".")


def check_options(method: str, names: Iterable[str]) -> None:
    """Check the names given with ``--set``.

    Raises:
        UsageError: the method has no such option; names the nearest.
    """
    known = {option.name for option in describe(method)} if (names := list(names)) else set()
    for name in names:
        if name not in known and name not in SETTINGS:
            raise unknown(f"option of {method}", name, sorted(known))


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add ``methods``."""
    parser = shared.add_command(
        subparsers,
        "methods",
        help="list the methods, or the options of one",
        description="List the methods; with NAME, the options of that method, their defaults and what they "
        "do. They are given as --set OPTION=VALUE to `label`, or as options={...} in Python.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a method")
    shared.add_json(parser, "the list")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    notes = method_notes()
    options = describe(args.name) if args.name else []
    if not shared.finish(args, lambda: [asdict(option) for option in options] if args.name else notes):
        return Exit.DONE
    if not args.name:
        say(*shared.listed(notes).splitlines(), "", "pseudomask methods NAME lists the options of one")
        return Exit.DONE
    say(f"{args.name}: {notes[args.name]}", "", "options, with --set OPTION=VALUE:")
    say(*shared.listed({f"{each.name}={each.default}": each.text for each in options}).splitlines())
    say("", "settings of every run: " + ", ".join(sorted(SETTINGS.values())))
    return Exit.DONE
