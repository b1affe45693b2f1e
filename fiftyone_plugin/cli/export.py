"""``pseudomask export``: masks in the formats of other tools."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..common.console import say

__all__ = ["add_parser", "run"]

EXIT_SKIPPED, EXIT_INTERRUPTED = 3, 130
FIFTYONE = "fiftyone:"
LISTED = 20
FORMATS = ("coco-instances", "coco-panoptic", "coco-stuff", "coco-results", "voc", "masks", "yolo")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand and return its parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "export",
        help="write masks as COCO, VOC, YOLO or plain PNG",
        description=(
            "Write masks in a format that other tools read. SOURCE is the output of `label`, any folder with "
            "images/ and masks/ (and classes.json, instances/), or fiftyone:NAME."
        ),
        epilog="exit code 3 with --strict: images were left out because something is wrong with them",
    )
    parser.add_argument("source", metavar="SOURCE", help="folder, or fiftyone:NAME")
    parser.add_argument("--format", choices=FORMATS, default="coco-instances", help="default: %(default)s")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the export")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in DIR")

    source = parser.add_argument_group("what")
    source.add_argument("--images-dir", type=Path, metavar="DIR", help="where the images of a run are")
    source.add_argument("--field", help="with fiftyone:NAME: the Segmentation field, if there are several")
    source.add_argument("--instances-field", help="with fiftyone:NAME: field of instance ids")
    source.add_argument(
        "--quality-field", help="with fiftyone:NAME: quality of masks, if not <field>_quality"
    )
    source.add_argument("--view", metavar="NAME", help="with fiftyone:NAME: a saved view")
    source.add_argument("--tag", nargs="+", help="with fiftyone:NAME: samples with one of these tags")
    source.add_argument("--classes", nargs="+", metavar="CLASS", help="names or ids to export")
    source.add_argument(
        "--ignore", type=int, nargs="+", default=[], metavar="ID", help="unlabelled, e.g. 255"
    )
    source.add_argument("--min-quality", type=float, metavar="Q", help="lowest quality of a mask, 0..1")
    source.add_argument(
        "--low-quality",
        choices=["drop", "mark"],
        default="drop",
        help="masks below it (default: %(default)s)",
    )
    source.add_argument("--min-area", type=int, default=0, metavar="PIXELS", help="smallest component")
    source.add_argument(
        "--small", choices=["drop", "merge"], default="drop",
        help="smaller ones: unlabelled, or merged with their neighbour (default: %(default)s)",
    )  # fmt: skip

    how = parser.add_argument_group("how")
    how.add_argument(
        "--images", choices=["copy", "symlink", "reference"], default="copy", help="default: %(default)s"
    )
    how.add_argument("--splits", nargs="+", default=[], metavar="TAG", help="a split for each of these tags")
    how.add_argument("--stuff", nargs="+", default=[], metavar="CLASS", help="classes that are not countable")
    how.add_argument("--polygons", action="store_true", help="COCO instances: polygons instead of RLE")
    how.add_argument(
        "--tolerance", type=float, default=0, metavar="PIXELS", help="of polygons (default: 0, exact)"
    )
    how.add_argument("--connectivity", type=int, choices=[4, 8], default=4, help="default: %(default)s")
    how.add_argument("--border", type=int, default=0, metavar="PIXELS", help="VOC: void along boundaries")
    how.add_argument("--void", action="store_true", help="VOC: unlabelled is void (255), not background")
    how.add_argument(
        "--like", metavar="FILE", help="COCO results: take image and category ids from this file"
    )
    how.add_argument("--jobs", type=int, default=0, metavar="N", help="worker processes (default: all cores)")
    how.add_argument("--strict", action="store_true", help=f"exit with {EXIT_SKIPPED} if images failed")
    how.add_argument("-q", "--quiet", action="store_true", help="no progress bars, no summary")
    return parser


def run(args: argparse.Namespace) -> int:
    """Export and print what was written."""
    try:
        return _run(args)
    except KeyboardInterrupt:
        say("pseudomask: interrupted; nothing was exported", error=True)
        return EXIT_INTERRUPTED


def _run(args: argparse.Namespace) -> int:
    from ..common.progress import ConsoleProgress, NullProgress
    from ..formats.exporting import export

    names = ("min_area", "small", "min_quality", "low_quality", "images", "polygons", "tolerance")
    more = ("connectivity", "border", "void", "like")
    result = export(
        _source(args),
        out=args.out,
        format=args.format,
        classes=args.classes,
        ignore=args.ignore,
        stuff=args.stuff,
        overwrite=args.overwrite,
        jobs=args.jobs,
        progress=NullProgress() if args.quiet else ConsoleProgress(),
        splits=tuple(args.splits),
        **{name: getattr(args, name) for name in (*names, *more)},
    )
    for entry in result.failed[:LISTED]:
        say(f"skipped {entry.key}: {entry.reason}", error=True)
    if len(result.failed) > LISTED:
        say(f"... and {len(result.failed) - LISTED} more, in {result.out / 'export.json'}", error=True)
    if not args.quiet:
        _report(result)
    return EXIT_SKIPPED if args.strict and result.failed else 0


def _source(args: argparse.Namespace) -> Any:
    from ..errors import UsageError

    if not args.source.startswith(FIFTYONE):
        from ..formats.sources import folder_source

        for name in ("field", "instances_field", "quality_field", "view", "tag"):
            if getattr(args, name):
                raise UsageError(f"--{name.replace('_', '-')} needs a dataset: fiftyone:NAME")
        return folder_source(args.source, images=args.images_dir)
    from ..dataset.record import load_dataset
    from ..formats.fiftyone_source import view_source

    if args.images_dir:
        raise UsageError("--images-dir is for folders: a dataset knows where its images are")
    view = load_dataset(args.source.removeprefix(FIFTYONE))
    if args.view:
        if args.view not in view.list_saved_views():
            listed = ", ".join(view.list_saved_views()) or "none"
            raise UsageError(f"no saved view {args.view!r}; there are: {listed}")
        view = view.load_saved_view(args.view)
    if args.tag:
        view = view.match_tags(args.tag)
    return view_source(
        view, args.field, instances_field=args.instances_field, quality_field=args.quality_field
    )


def _report(result: Any) -> None:
    left_out = len(result.skipped) - len(result.failed)
    parts = [
        f"{result.images} images",
        f"{result.annotations} segments",
        f"{len(result.categories)} classes",
        *([f"{result.marked} marked as of low quality"] if result.marked else []),
        *([f"{left_out} left out as asked"] if left_out else []),
        f"{len(result.failed)} skipped",
    ]
    say(f"{result.format}: {', '.join(parts)}, {result.seconds:.1f} s")
    for name, count in result.splits.items():
        say(f"  {name}: {count} images")
    say(f"written to {result.out}")
