"""``pseudomask import``: masks and COCO files from outside, as masks or as a field of a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..common.console import say

__all__ = ["add_parser", "run"]

EXIT_SKIPPED, EXIT_INTERRUPTED = 3, 130
FIFTYONE = "fiftyone:"
LISTED = 20


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand and return its parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "import",
        help="read masks or COCO files of other tools",
        description=(
            "Read a COCO file (instances, stuff, panoptic), a VOC folder or a folder of masks, and write "
            "masks/ and classes.json, or a Segmentation field of a FiftyOne dataset. Exit code "
            f"{EXIT_SKIPPED} if anything was left out: it is listed, and in export.json."
        ),
    )
    parser.add_argument("source", metavar="SOURCE", help="COCO file, or folder")
    parser.add_argument("--to", metavar="fiftyone:NAME", help="dataset that gets the masks as a field")
    parser.add_argument("--field", default="imported_mask", help="the field (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the masks; needed without --to")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier import")
    # the rule now, and accepted for scripts that say so
    parser.add_argument("--strict", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bars, no summary")
    return parser


def run(args: argparse.Namespace) -> int:
    """Import and print what was read."""
    try:
        return _run(args)
    except KeyboardInterrupt:
        say("pseudomask: interrupted; nothing was imported", error=True)
        return EXIT_INTERRUPTED


def _run(args: argparse.Namespace) -> int:
    from ..common.progress import ConsoleProgress, NullProgress
    from ..errors import UsageError

    shared: dict[str, Any] = {
        "overwrite": args.overwrite,
        "progress": NullProgress() if args.quiet else ConsoleProgress(),
    }
    if args.to is None:
        from ..formats.importing import read_masks

        if args.out is None:
            raise UsageError("say where the masks go: --out DIR, or --to fiftyone:NAME")
        result = read_masks(args.source, args.out, **shared)
    else:
        from ..dataset.record import load_dataset
        from ..formats.fiftyone_import import import_masks

        if not args.to.startswith(FIFTYONE):
            raise UsageError(f"--to takes fiftyone:NAME, not {args.to!r}")
        dataset = load_dataset(args.to.removeprefix(FIFTYONE))
        result = import_masks(dataset, args.source, args.field, out=args.out, **shared)
    for entry in result.skipped[:LISTED]:
        say(f"skipped {entry.key}: {entry.reason}", error=True)
    if len(result.skipped) > LISTED:
        say(f"... and {len(result.skipped) - LISTED} more, in {result.out / 'export.json'}", error=True)
    if not args.quiet:
        lost = f" ({len(result.lost)} annotations)" if result.lost else ""
        field = f", {result.matched} samples of {args.to}, field {args.field}" if args.to else ""
        counts = (
            f"{len(result.masks)} masks, {len(result.names)} classes, {len(result.skipped)} skipped{lost}"
        )
        say(counts + field)
        say(f"written to {result.out}")
    return EXIT_SKIPPED if any(not entry.expected for entry in result.skipped) else 0
