"""``pseudomask join``: runs of parts of the images become one run."""

from __future__ import annotations

import argparse

from ..common.console import say
from . import shared


@shared.command(
    "join",
    help="make one run of runs of parts of the images",
    description="Make one run of runs of parts of the images that one fitted model has labelled: of "
    "`label --model M --shard 1/4` to 4/4, or of lists with one --root. Masks become hard links, or "
    "copies where the file system has none; the runs stay as they are. An image may be in several runs "
    "if its masks are the same.",
    json="counts, classes and the runs that were joined",
)
def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``join``."""
    text = "output folder of `label`, finished"
    parser.add_argument("runs", nargs="+", type=shared.folder, metavar="RUN", help=text)
    shared.add_out(parser, "the joined run", stores=True)
    parser.add_argument("--partial", action="store_true", help="also where shards of the whole are missing")


def run(args: argparse.Namespace) -> int:
    """Join, and say what came of it."""
    from ..runs.joining import join_runs
    from .label import prepare_process

    prepare_process()
    how = shared.chosen(args, "overwrite", "partial")
    record = join_runs(args.runs, args.out, progress=shared.progress_of(args), **how)
    counts = record.counts
    document = {"out": str(args.out), **counts, "classes": record.class_names, "runs": record.work["joined"]}
    if shared.finish(args, lambda: document):
        done = f"{counts['labelled']} images labelled, {counts['skipped']} skipped"
        say(f"{len(args.runs)} runs joined: {done}")
        say(f"masks:         {args.out / 'masks'}", f"table:         {args.out / 'samples.csv'}")
    return shared.Exit.DONE
