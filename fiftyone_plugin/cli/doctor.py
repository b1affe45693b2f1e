"""``pseudomask doctor``: what is here, what is missing, and the mend."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from ..common.console import say
from . import checks as doctor

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add ``doctor``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "doctor", help="say what is installed, what is missing and how to mend it"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of lines")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print one line a check; 1 where something essential is missing, else 0."""
    checks = doctor.run_checks()
    if args.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        for check in checks:
            mend = f"  ->  {check.mend}" if check.mend else ""
            say(f"{check.status:<8} {check.name:<11} {check.detail}{mend}")
    return int(any(check.essential and check.status == "missing" for check in checks))
