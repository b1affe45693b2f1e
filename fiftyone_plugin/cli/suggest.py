"""``pseudomask suggest``: which images to label next, and why."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from ..common.console import say
from ..errors import UsageError
from . import shared


@shared.command(
    "suggest",
    help="say which images to label next",
    description="Say which images of a run to label by hand next: those that show what many images show, "
    "that differ from each other and from those labelled, and of which a taught model is unsure.",
    json="images, scores and reasons",
)
def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``suggest``."""
    add = parser.add_argument
    add("folder", type=Path, metavar="RUN", help="output folder of `label` with the default method")
    add("-n", "--number", type=int, default=5, metavar="N", help="images (default: %(default)s)")
    add("--labels", type=Path, metavar="MASKS", help="folder of masks of images that are labelled already")


def run(args: argparse.Namespace) -> int:
    """Run ``pseudomask suggest``."""
    from ..runs.suggesting import suggest
    from .label import prepare_process

    if args.number < 1:
        raise UsageError(f"-n must be at least 1, got {args.number}")
    prepare_process()
    found = suggest(args.folder, args.number, labels=args.labels, progress=shared.progress_of(args))
    if shared.finish(args, lambda: [asdict(one) for one in found]):
        say(*(f"{number}. {one.image}: {one.reason}" for number, one in enumerate(found, 1)))
    return shared.Exit.DONE
