"""``pseudomask import``: masks and COCO files from outside, as masks or as a field of a dataset."""

from __future__ import annotations

import argparse
import json

from ..common.console import say
from ..errors import UsageError
from . import shared


@shared.command(
    "import",
    help="read masks or COCO files of other tools",
    description="Read a COCO file (instances, stuff, panoptic), a VOC folder or a folder of masks, and "
    "write masks/ and classes.json, or a Segmentation field of a FiftyOne dataset. What is left out is "
    "listed, and in export.json.",
    json="the record export.json",
)
def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``import``."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="COCO file, or folder")
    add("--to", metavar="fiftyone:NAME", help="dataset that gets the masks as a field; --out may be left out")
    add("--field", default="imported_mask", help="the field (default: %(default)s)")
    shared.add_out(parser, "the masks of the import", required=False)
    # the rule now, and accepted for scripts that say so
    add("--strict", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(interrupted="; nothing was imported")


def run(args: argparse.Namespace) -> int:
    """Import and print what was read."""
    how = {**shared.chosen(args, "overwrite"), "progress": shared.progress_of(args)}
    if args.to is None:
        from ..formats.importing import read_masks

        if args.out is None:
            raise UsageError("say where the masks go: --out DIR, or --to fiftyone:NAME")
        result = read_masks(args.source, args.out, **how)
    else:
        from ..formats.fiftyone_import import import_masks

        if (dataset := shared.dataset_named(args.to)) is None:
            raise UsageError(f"--to takes fiftyone:NAME, not {args.to!r}")
        result = import_masks(dataset, args.source, args.field, out=args.out, **how)
    record = result.out / "export.json"
    shared.list_skipped((f"skipped {entry}" for entry in result.skipped), f", in {record}")
    if shared.finish(args, lambda: json.loads(record.read_text(encoding="utf-8"))):
        counts = f"{len(result.masks)} masks, {len(result.names)} classes, {len(result.skipped)} skipped"
        lost = f" ({len(result.lost)} annotations)" if result.lost else ""
        field = f", {result.matched} samples of {args.to}, field {args.field}" if args.to else ""
        say(counts + lost + field, f"written to {result.out}")
    return shared.Exit.LEFT_OUT if any(not entry.expected for entry in result.skipped) else shared.Exit.DONE
