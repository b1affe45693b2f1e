"""``pseudomask doctor``: what is here, what is missing, and the mend."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ..common.console import say
from . import checks as doctor
from . import shared
from .exits import Exit

__all__ = ["add_parser", "run"]


def add_parser(subparsers: shared.Subparsers) -> argparse.ArgumentParser:
    """Add ``doctor``."""
    parser = shared.add_command(
        subparsers, "doctor", help="say what is installed, what is missing and how to mend it"
    )
    shared.add_json(parser, "a list of the checks")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print one line a check."""
    checks = doctor.run_checks()
    if shared.finish(args, lambda: [asdict(check) for check in checks]):
        for check in checks:
            mend = f"  ->  {check.mend}" if check.mend else ""
            say(f"{check.status:<8} {check.name:<11} {check.detail}{mend}")
    missing = any(check.essential and check.status == "missing" for check in checks)
    return Exit.MISSING if missing else Exit.DONE
