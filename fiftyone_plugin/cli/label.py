"""``pseudomask label``: images in, a folder of pseudo-masks out."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.console import say
from ..common.text import printable
from ..errors import UsageError, without_secrets
from ..masks.refine import DEFAULT_REFINER, REFINERS
from ..methods import DEFAULT_METHOD
from ..runs.config import DEFAULT_CLASSES, PLENTY, LabelConfig
from . import shared
from .methods import check_options, method_notes

if TYPE_CHECKING:
    from ..images.listing import ImageList
    from ..runs.result import LabelResult

GIB = 1024**3
PRESETS = {
    "fast": "the default method with fewer cuts and no refinement: less time, softer outlines",
    "best": "the default method with all it has: what is used without a preset",
}
METHODS = "methods (`pseudomask methods NAME` lists the options of one):"
NOTES = f"{METHODS}\n{shared.listed(method_notes())}\n\npresets:\n{shared.listed(PRESETS)}"

REPORT = "counts, classes and what became of every image"
STRICT = f"exit with {shared.Exit.LEFT_OUT:d} if images were skipped, or pictures cannot be decoded"


@shared.command(
    "label",
    help="give every image a semantic pseudo-mask",
    description="Give every image a semantic pseudo-mask, without labels and without prompts.",
    notes=NOTES,
    json=REPORT,
    gpus=True,
)
def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``label``."""
    add = parser.add_argument
    text = "folder (recursive), glob, text file of paths, or fiftyone:NAME; here or in a store (s3://...)"
    add("images", metavar="IMAGES", help=text)
    again = parser.add_mutually_exclusive_group()
    shared.add_out(parser, "masks and records of the run", group=again, old="--restart", stores=True)
    again.add_argument("--resume", action="store_true", help="go on with an unfinished run in DIR")
    add_method_arguments(parser)
    add("--precision", default="auto", help="auto, float32, bfloat16 (default: %(default)s)")
    text = "images in a forward pass (default: as the device has room)"
    add("--batch-size", type=int, metavar="N", help=text)
    text = "images to learn from (default: %(default)s)"
    add("--fit-images", type=int, default=4000, metavar="N", help=text)
    add("--model", type=shared.folder, metavar="DIR", help="label with the fitted model of an earlier run")
    add("--root", metavar="DIR", help="folder that the names of images begin at, whatever else is labelled")
    add("--shard", metavar="I/N", help="with --model: label part I of N; `join` makes one run of the parts")
    text = "folder of masks of some images, to learn from; with --field also a field"
    add("--labels", type=Path, metavar="MASKS", help=text)
    add("--names", type=Path, metavar="FILE", help="with --labels: names of their ids, as in classes.json")
    text = "with --labels: ids that mean nothing (default: 0 255)"
    add("--ignore", type=int, nargs="*", default=[0, 255], metavar="ID", help=text)
    text = "with --labels: up to N clusters that no labelled image shows stay as classes"
    add("--discover", type=int, default=0, metavar="N", help=text)
    add("--recut", type=int, metavar="K", help="with --model: cut it into K other classes, without fitting")
    text = "size of the feature cache (default: 20)"
    add("--cache-limit", type=_gib, default="20", metavar="GIB", help=text)
    add("--field", help="with fiftyone:NAME, also write the masks to this field of the dataset")
    add("--dry-run", action="store_true", help="say how long it would take here and how much disk, and stop")
    add("--strict", action="store_true", help=STRICT)
    parser.set_defaults(interrupted="; run the same command with --resume to go on")


def add_method_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says how images are labelled; :func:`method_settings` reads it back."""
    add = parser.add_argument
    add("--preset", metavar="NAME", help="settings around the default method: fast or best, see below")
    text = f"{', '.join(method_notes())} (default: %(default)s)"
    add("--method", default=DEFAULT_METHOD, metavar="NAME", help=text)
    text = "number of classes; auto to find it, many for naming, with the default method "
    text += f"(default: {DEFAULT_CLASSES}, fewer for fewer than 100 images)"
    add("--classes", type=_classes, metavar="K", help=text)
    add("--backbone", metavar="NAME|PATH", help="timm ViT or checkpoint file (default: DINOv2 ViT-S/14)")
    add("--size", type=int, default=448, help="side of the network input, pixels (default: %(default)s)")
    add("--refine", choices=list(REFINERS), help=f"refinement (default: {DEFAULT_REFINER})")
    add("--seed", type=int, default=0, help="seed of everything random (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda, mps; cuda:0,cuda:1; all (default: %(default)s)")
    add("--jobs", type=int, default=0, metavar="N", help="worker processes (default: all cores)")
    text = "further option of the method, see `pseudomask methods`; may be repeated"
    add("--set", action="append", default=[], metavar="OPTION=VALUE", help=text)
    text = "keep features on disk, some 4 MB an image: for trying several settings"
    add("--cache", action=argparse.BooleanOptionalAction, default=False, help=text)


def method_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what :func:`add_method_arguments` added, as fields of :class:`~..config.LabelConfig`."""
    names = ("preset", "method", "classes", "backbone", "size", "refine", "seed", "device", "jobs", "cache")
    options = parse_options(args.set)
    check_options(args.method, options)
    return {**shared.chosen(args, *names), "options": options}


def _classes(text: str) -> int | str:
    """Parse a number of classes or ``auto``."""
    if text in ("auto", "many"):
        return text
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number, auto nor many") from error


def _gib(text: str) -> int:
    """Parse a size in GiB to bytes."""
    try:
        return int(float(text) * GIB)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size in GiB") from error


def run(args: argparse.Namespace) -> int:
    """Run ``pseudomask label``."""
    if args.dry_run:
        return _estimate(args)
    prepare_process()
    result = _label(args)
    by_default = args.classes is None and not (args.model or args.labels)
    if report(result, args) and by_default and len(result.samples) < PLENTY:
        say("classes:       by default fewer for few images; --classes K takes another number")
    return exit_code(result, args)


def _estimate(args: argparse.Namespace) -> int:
    """Say what the run would take; nothing is written."""
    from ..runs.estimate import estimate
    from ..runs.model import FittedModel
    from ..runs.planning import plan_run, spread
    from ..runs.spool import fetch_model

    paths = [item.path for item in _list(args)]
    config = LabelConfig(**method_settings(args))  # with what a preset says
    settings = {name: getattr(config, name) for name in ("method", "backbone", "size", "refine", "device")}
    settings["tiles"] = int(config.options.get("tiles", 1))
    if args.model:
        model = FittedModel.load(fetch_model(args.model))
        settings |= {"size": model.size, "refine": model.refine, "tiles": model.method.seen_in_tiles}
    some = [paths[i] for i in spread(len(paths))]
    limits = shared.chosen(args, "fit_images", "cache_limit")
    plan = plan_run(len(paths), some, **settings, fitted=bool(args.model), kept=args.cache, **limits)
    found = estimate(plan)
    if shared.finish(args, lambda: {"images": len(paths), **asdict(found)}):
        say(f"{len(paths)} images: {found} ({found.origin})", *found.notes)
    return shared.Exit.DONE


def _list(args: argparse.Namespace) -> ImageList:
    from ..images.listing import list_images, listed_view

    if (dataset := shared.dataset_named(args.images)) is not None:
        return listed_view(dataset, root=args.root, shard=args.shard)
    return list_images(args.images, root=args.root, shard=args.shard)


def _label(args: argparse.Namespace) -> LabelResult:
    from ..runs.labels import given_labels
    from ..runs.pipeline import label_items

    more = shared.chosen(args, "recut", "precision", "batch_size", "fit_images", "cache_limit")
    config = LabelConfig(**method_settings(args), **shared.engine_settings(args), **more)
    how = {**shared.chosen(args, "model", "resume"), "restart": args.overwrite}
    how["progress"] = shared.progress_of(args)
    if not args.field:
        items = _list(args)
        given = (args.labels, args.names, tuple(args.ignore), args.discover)
        return label_items(items, args.out, config, labels=given_labels(items, *given), **how)
    if args.root or args.shard:
        raise UsageError("--field labels the whole dataset under its own names; leave out --root and --shard")
    from ..dataset.labelling import label_dataset

    if (dataset := shared.dataset_named(args.images)) is None:
        raise UsageError("--field needs images from a FiftyOne dataset: fiftyone:NAME")
    how |= shared.chosen(args, "labels", "names", "discover", "overwrite")
    how["ignore"] = tuple(args.ignore)
    return label_dataset(dataset, args.field, out=args.out, config=config, **how)


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """Parse ``name=value`` pairs; values are JSON where they parse as such, else strings.

    Raises:
        UsageError: a pair without ``=``, or whose name is no name.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name.isidentifier():
            raise UsageError(f"--set takes OPTION=VALUE, got {pair!r}")
        try:
            options[name] = json.loads(text)
        except (ValueError, RecursionError):
            options[name] = text
    return options


def prepare_process() -> None:
    """Send warnings and log lines of this package to stderr, and make threads wait without spinning.

    OpenMP reads the variable when torch is loaded. Spinning threads gain nothing here, and where other
    processes use the cores they make a forward pass many times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    handler = AboveBars()
    handler.setFormatter(logging.Formatter("pseudomask: %(message)s"))
    package = logging.getLogger("fiftyone_plugin")
    if not package.handlers:
        package.addHandler(handler)

    def show(message: Warning | str, category: type[Warning], *_: object) -> None:
        if issubclass(category, UserWarning):
            package.warning("%s", message)

    warnings.showwarning = show  # type: ignore[assignment]


class AboveBars(logging.Handler):
    """Prints on stderr without tearing a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        from tqdm.auto import tqdm

        tqdm.write(printable(without_secrets(self.format(record))), file=sys.stderr)


def report(result: LabelResult, args: argparse.Namespace) -> bool:
    """Say where the results are, why images were skipped, what was left out; returns if all that was said."""
    for row in result.skipped:
        say(f"skipped {row.image}: {row.error}", error=True)
    say(*result.left_out.describe(), error=True)
    document = {
        "out": without_secrets(str(result.out)),
        "labelled": len(result.labelled),
        "skipped": len(result.skipped),
        "classes": result.class_names,
        "seconds": result.run["seconds"]["total"],
        "samples": [asdict(row) for row in result.samples],
    }
    summary = shared.finish(args, lambda: document)
    if summary:
        counts = f"{document['labelled']} images labelled, {document['skipped']} skipped"
        say(f"{counts}, {len(result.class_names)} classes, {document['seconds']:.0f} s")
        say(f"masks:         {result.out / 'masks'}", f"table:         {result.out / 'samples.csv'}")
        say(f"contact sheet: {result.out / 'contact_sheet.png'}")
    return summary


def exit_code(result: LabelResult, args: argparse.Namespace) -> int:
    """Return the exit code of a run that has ended."""
    incomplete = result.skipped or result.left_out.extensions
    return shared.Exit.LEFT_OUT if args.strict and incomplete else shared.Exit.DONE
