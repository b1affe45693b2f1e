"""``pseudomask join``: runs of parts of the images become one run."""

from __future__ import annotations

import argparse

from ..common.console import say
from . import shared
from .exits import Exit

__all__ = ["add_parser", "run"]


def add_parser(subparsers: shared.Subparsers) -> argparse.ArgumentParser:
    """Add the subcommand and return its parser."""
    parser = shared.add_command(
        subparsers,
        "join",
        help="make one run of runs of parts of the images",
        description="Make one run of runs of parts of the images that one fitted model has labelled: of "
        "`label --model M --shard 1/4` to 4/4, or of lists with one --root. Masks become hard links, or "
        "copies where the file system has none; the runs stay as they are. An image may be in several runs "
        "if its masks are the same.",
    )
    parser.add_argument(
        "runs", nargs="+", type=shared.folder, metavar="RUN", help="output folder of `label`, finished"
    )
    shared.add_out(parser, "the joined run", stores=True)
    parser.add_argument("--partial", action="store_true", help="also where shards of the whole are missing")
    shared.add_json(parser, "counts, classes and the runs that were joined")
    shared.add_quiet(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Join, and say what came of it."""
    from ..runs.joining import join_runs
    from .label import prepare_process

    prepare_process()
    record = join_runs(
        args.runs,
        args.out,
        overwrite=args.overwrite,
        partial=args.partial,
        progress=shared.progress_of(args),
    )
    counts = record.counts
    document = {"out": str(args.out), **counts, "classes": record.class_names, "runs": record.work["joined"]}
    if shared.finish(args, lambda: document):
        say(
            f"{len(args.runs)} runs joined: {counts['labelled']} images labelled, {counts['skipped']} skipped"
        )
        say(f"masks:         {args.out / 'masks'}", f"table:         {args.out / 'samples.csv'}")
    return Exit.DONE
