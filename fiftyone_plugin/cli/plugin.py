"""``pseudomask plugin install | uninstall``: make FiftyOne find the plugin, or forget it."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..common.console import say
from . import plugin_install, shared
from .exits import Exit

__all__ = ["add_parser", "run"]

SENTENCES = {
    "linked": "linked {path} -> {target}",
    "copied": "copied {target} to {path}",
    "unchanged": "nothing to do: {path} already is {target}",
    "removed": "removed {path}",
    "absent": "nothing to do: no {path}",
}


def add_parser(subparsers: shared.Subparsers) -> argparse.ArgumentParser:
    """Add ``plugin`` with its two actions."""
    parser = shared.add_command(subparsers, "plugin", help="register the plugin with FiftyOne, or remove it")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    install = shared.add_command(actions, "install", help="link the plugin into FiftyOne's plugins directory")
    install.add_argument("--copy", action="store_true", default=None, help="copy instead of linking")
    uninstall = shared.add_command(actions, "uninstall", help="remove the link or copy made by install")
    text = "default: FiftyOne's own (FIFTYONE_PLUGINS_DIR)"
    for action in (install, uninstall):
        action.add_argument("--plugins-dir", type=Path, metavar="DIR", help=text)
    return parser


def run(args: argparse.Namespace) -> int:
    """Do it and say what was done."""
    if args.action == "install":
        outcome = plugin_install.install(args.plugins_dir, copy=args.copy)
    else:
        outcome = plugin_install.uninstall(args.plugins_dir)
    what = SENTENCES[outcome.action].format(path=outcome.path, target=outcome.target)
    say(f"{plugin_install.PLUGIN_NAME}: {what}")
    return Exit.DONE
