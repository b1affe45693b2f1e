"""What the documentation's build makes from the code: the reference of the shell."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any

from fiftyone_plugin.cli.main import build_parser

MARK = "<!-- commands -->"
# what is in the repository and not on the site
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the commands where a page asks for them, and take links out of the site away; called by MkDocs."""
    if MARK in markdown:
        markdown = markdown.replace(MARK, "\n".join(_commands()))
    if page.file.src_uri.count("/"):
        return markdown
    return _OUTSIDE.sub(r"\1 (`\2` in the repository)", markdown)


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return name -> parser of the commands below a parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _commands() -> Iterator[str]:
    for name, parser in subcommands(build_parser()).items():
        yield from _command(name, parser, 2)


def _command(name: str, parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    yield f"{'#' * level} {name}\n"
    yield f"{_plain(parser.description)}\n"
    usage = " ".join(parser.format_usage().split())
    yield f"```text\n{usage}\n```\n"
    rows = [row for group in parser._action_groups for action in group._group_actions for row in _row(action)]
    if rows:
        yield from ("| | |", "| --- | --- |", *rows, "")
    for inner, below in subcommands(parser).items():
        yield from _command(f"{name} {inner}", below, level + 1)


def _row(action: argparse.Action) -> Iterator[str]:
    """Yield the line of a table that describes an argument; none of those that are hidden."""
    if action.help == argparse.SUPPRESS or isinstance(action, argparse._HelpAction):
        return
    if isinstance(action, argparse._SubParsersAction):
        return
    values = "" if action.nargs == 0 else str(action.metavar or "")
    if not values and action.choices:
        values = " or ".join(map(str, action.choices))
    names = ", ".join(action.option_strings) or values or action.dest
    shown = f"`{names}`" + (f" `{values}`" if action.option_strings and values else "")
    yield f"| {shown.replace('|', chr(92) + '|')} | {_plain(_help(action))} |"


def _help(action: argparse.Action) -> str:
    return (action.help or "") % {**vars(action), "prog": "pseudomask"}


def _plain(text: str | None) -> str:
    """Return text on one line, with nothing that Markdown or HTML would read."""
    plain = " ".join((text or "").split())
    for sign, safe in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        ("|", "&#124;"),
        ("*", "&#42;"),
        ("_", "&#95;"),
        ("[", "&#91;"),
    ):
        plain = plain.replace(sign, safe)
    return plain
