"""``pseudomask export``: masks in the formats of other tools."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from ..common.console import say
from ..errors import UsageError
from . import shared

if TYPE_CHECKING:
    from ..formats.base import ExportSource
    from ..formats.exporting import ExportResult

FORMATS = (
    "coco-instances",
    "coco-panoptic",
    "coco-stuff",
    "coco-results",
    "voc",
    "masks",
    "yolo",
    "ultralytics-semantic",
    "mmsegmentation",
    "huggingface",
    "cvat",
    "label-studio",
)


@shared.command(
    "export",
    help="write masks in the formats of other tools",
    description="Write masks in a format that other tools read. SOURCE is the output of `label`, any "
    "folder with images/ and masks/ (and classes.json, instances/), or fiftyone:NAME.",
    json="the record export.json",
    gpus=False,
)
def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export``."""
    parser.add_argument("source", metavar="SOURCE", help="folder, or fiftyone:NAME")
    formats = f"{', '.join(FORMATS)}; default: %(default)s"
    parser.add_argument("--format", choices=FORMATS, default="coco-instances", metavar="NAME", help=formats)
    shared.add_out(parser, "the export", stores=True)

    add = parser.add_argument_group("what").add_argument
    add("--images-dir", type=shared.folder, metavar="DIR", help="where the images of a run are")
    add("--field", help="with fiftyone:NAME: the Segmentation field, if there are several")
    add("--instances-field", help="with fiftyone:NAME: field of instance ids")
    add("--quality-field", help="with fiftyone:NAME: quality of masks, if not <field>_quality")
    add("--view", metavar="NAME", help="with fiftyone:NAME: a saved view")
    add("--tag", nargs="+", help="with fiftyone:NAME: samples with one of these tags")
    add("--only", nargs="+", metavar="CLASS", help="names or ids of the classes to export (default: all)")
    add("--classes", nargs="+", action=shared.Renamed, now="--only")
    add("--ignore", type=int, nargs="+", default=[], metavar="ID", help="unlabelled, e.g. 255")
    add("--min-quality", type=float, metavar="Q", help="lowest quality of a mask, 0..1")
    low = "masks below it (default: %(default)s)"
    add("--low-quality", choices=["drop", "mark"], default="drop", help=low)
    text = "pixels below this confidence, 0..1, become unlabelled; formats to train on ignore them"
    add("--min-confidence", type=float, default=0, metavar="C", help=text)
    add("--min-area", type=int, default=0, metavar="PIXELS", help="smallest component")
    small = "smaller ones: unlabelled, or merged with their neighbour (default: %(default)s)"
    add("--small", choices=["drop", "merge"], default="drop", help=small)

    add = parser.add_argument_group("how").add_argument
    add("--images", choices=["copy", "symlink", "reference"], default="copy", help="default: %(default)s")
    add("--splits", nargs="+", default=[], metavar="TAG", help="a split for each of these tags")
    add("--val", type=float, default=0, metavar="SHARE", help="draw splits train and val; this share is val")
    add("--seed", type=int, default=0, metavar="N", help="which images --val draws (default: %(default)s)")
    text = "formats to train on: unlabelled is class 0 of this name, not ignored"
    add("--background", default="", metavar="NAME", help=text)
    add("--stuff", nargs="+", default=[], metavar="CLASS", help="classes that are not countable")
    add("--polygons", action="store_true", help="COCO instances: polygons instead of RLE")
    add("--tolerance", type=float, default=0, metavar="PIXELS", help="of polygons (default: 0, exact)")
    add("--connectivity", type=int, choices=[4, 8], default=4, help="default: %(default)s")
    text = "COCO, YOLO: cut components at their necks, so that touching objects of a class are several"
    add("--instances", action="store_true", help=text)
    add("--border", type=int, default=0, metavar="PIXELS", help="VOC: void along boundaries")
    add("--void", action="store_true", help="VOC: unlabelled is void (255), not background")
    add("--like", metavar="FILE", help="COCO results: take image and category ids from this file")
    add("--jobs", type=int, default=0, metavar="N", help="worker processes (default: all cores)")
    add("--strict", action="store_true", help=f"exit with {shared.Exit.LEFT_OUT:d} if images failed")
    parser.set_defaults(interrupted="; nothing was exported")


def run(args: argparse.Namespace) -> int:
    """Export and print what was written."""
    from ..formats.exporting import export

    names = ["out", "format", "ignore", "stuff", "overwrite", "jobs", "min_area", "small", "min_quality"]
    names += ["low_quality", "images", "polygons", "tolerance", "connectivity", "instances", "border", "void"]
    names += ["like", "min_confidence", "val", "seed", "background"]
    settings = {**shared.chosen(args, *names), **shared.engine_settings(args), "classes": args.only}
    progress = shared.progress_of(args)
    result = export(_source(args), splits=tuple(args.splits), progress=progress, **settings)
    record = result.out / "export.json"
    shared.list_skipped((f"skipped {entry}" for entry in result.failed), f", in {record}")
    if shared.finish(args, lambda: json.loads(record.read_text(encoding="utf-8"))):
        _report(result)
    return shared.Exit.LEFT_OUT if args.strict and result.failed else shared.Exit.DONE


def _source(args: argparse.Namespace) -> ExportSource:
    view = shared.dataset_named(args.source)
    if view is None:
        from ..formats.sources import folder_source

        for name in ("field", "instances_field", "quality_field", "view", "tag"):
            if getattr(args, name):
                raise UsageError(f"--{name.replace('_', '-')} needs a dataset: fiftyone:NAME")
        return folder_source(args.source, images=args.images_dir)
    from ..formats.fiftyone_source import view_source

    if args.images_dir:
        raise UsageError("--images-dir is for folders: a dataset knows where its images are")
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


def _report(result: ExportResult) -> None:
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
