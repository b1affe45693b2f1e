"""``pseudomask label``: images in, a folder of pseudo-masks out."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from ..common.console import say
from ..common.text import printable
from ..methods import DEFAULT_METHOD

__all__ = ["add_method_arguments", "add_parser", "method_settings", "prepare_process", "report", "run"]

EXIT_SKIPPED = 3
FIFTYONE = "fiftyone:"
GIB = 1024**3


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand to the parser."""
    parser = subparsers.add_parser(
        "label",
        help="give every image a semantic pseudo-mask",
        description="Give every image a semantic pseudo-mask, without labels and without prompts.",
    )
    parser.add_argument("images", help="folder (recursive), glob, text file of paths, or fiftyone:NAME")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write to")
    add_method_arguments(parser)
    parser.add_argument("--precision", default="auto", help="auto, float32, bfloat16 (default: %(default)s)")
    parser.add_argument(
        "--batch-size", type=int, metavar="N", help="images in a forward pass (default: 4 on CPU, else 32)"
    )
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="label with the fitted model of an earlier run"
    )
    parser.add_argument(
        "--recut", type=int, metavar="K", help="with --model: cut it into K other classes, without fitting"
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with an unfinished run in DIR")
    again.add_argument("--restart", action="store_true", help="replace an earlier run in DIR")
    parser.add_argument(
        "--cache-limit",
        type=_gib,
        default="20",
        metavar="GIB",
        help="size of the feature cache (default: 20)",
    )
    parser.add_argument(
        "--field", help="with fiftyone:NAME, also write the masks to this new field of the dataset"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help=f"exit with {EXIT_SKIPPED} if images were skipped, or pictures left out that cannot be decoded",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say how long it would take here and how much disk, and stop"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bars, no summary")
    return parser


def add_method_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says how images are labelled; :func:`method_settings` reads it back."""
    parser.add_argument(
        "--preset", help="fast or best: settings around the default method, between speed and quality"
    )
    parser.add_argument("--method", default=DEFAULT_METHOD, help="method (default: %(default)s)")
    parser.add_argument(
        "--classes",
        type=_classes,
        default=20,
        metavar="K",
        help="number of classes, or auto to find it, with the default method (default: %(default)s)",
    )
    parser.add_argument(
        "--backbone", metavar="NAME|PATH", help="timm ViT or checkpoint file (default: DINOv2 ViT-S/14)"
    )
    parser.add_argument(
        "--size", type=int, default=448, help="side of the network input, pixels (default: %(default)s)"
    )
    parser.add_argument("--refine", choices=["crf", "none"], help="refinement (default: crf where installed)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of everything random (default: %(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=0, metavar="N", help="worker processes (default: all cores)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="further option of the method; may be repeated",
    )
    parser.add_argument("--no-cache", action="store_true", help="do not keep features on disk")


def method_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what :func:`add_method_arguments` added, as fields of :class:`~..config.LabelConfig`."""
    names = ("preset", "method", "classes", "backbone", "size", "refine", "seed", "device", "jobs")
    settings = {name: getattr(args, name) for name in names}
    return {**settings, "cache": not args.no_cache, "options": parse_options(args.set)}


def _classes(text: str) -> int | str:
    """Parse a number of classes or ``auto``."""
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor auto") from error


def _gib(text: str) -> int:
    """Parse a size in GiB to bytes."""
    try:
        return int(float(text) * GIB)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size in GiB") from error


def run(args: argparse.Namespace) -> int:
    """Run ``pseudomask label``."""
    from ..common.progress import ConsoleProgress, NullProgress

    if args.dry_run:
        say(_estimate(args))
        return 0
    prepare_process()
    progress = NullProgress() if args.quiet else ConsoleProgress()
    result = _label(args, progress)
    report(result, quiet=args.quiet)
    incomplete = result.skipped or result.left_out.extensions
    return EXIT_SKIPPED if args.strict and incomplete else 0


def _estimate(args: argparse.Namespace) -> str:
    """Say what the run would take; nothing is written."""
    from ..runs.estimate import estimate
    from ..runs.model import FittedModel
    from ..runs.planning import plan_run, spread

    paths = _list_paths(args.images)
    settings = {name: getattr(args, name) for name in ("method", "backbone", "size", "refine", "device")}
    if args.model:
        model = FittedModel.load(args.model)
        settings |= {"size": model.size, "refine": model.refine}
    some = [paths[i] for i in spread(len(paths))]
    plan = plan_run(len(paths), some, **settings, fitted=bool(args.model), kept=not args.no_cache)
    found = estimate(plan)
    return f"{len(paths)} images: {found} ({found.origin})"


def _list_paths(images: str) -> list[str]:
    from ..images.listing import list_images

    if not images.startswith(FIFTYONE):
        return [item.path for item in list_images(images)]
    from ..dataset.record import load_dataset
    from ..images.listing import list_view

    return [entry.item.path for entry in list_view(load_dataset(images.removeprefix(FIFTYONE)))]


def _label(args: argparse.Namespace, progress: Any) -> Any:
    from ..errors import UsageError
    from ..images.listing import list_images
    from ..runs.config import LabelConfig
    from ..runs.pipeline import label_items

    if args.field and not args.images.startswith(FIFTYONE):
        raise UsageError("--field needs images from a FiftyOne dataset: fiftyone:NAME")
    config = LabelConfig(
        **method_settings(args),
        recut=args.recut,
        precision=args.precision,
        batch_size=args.batch_size,
        cache_limit=args.cache_limit,
    )
    config.validate()
    shared = {"model": args.model, "resume": args.resume, "restart": args.restart, "progress": progress}
    if not args.images.startswith(FIFTYONE):
        return label_items(list_images(args.images), args.out, config, **shared)
    from ..dataset.labelling import label_dataset
    from ..dataset.record import load_dataset
    from ..images.listing import list_view

    dataset = load_dataset(args.images.removeprefix(FIFTYONE))
    if args.field:
        return label_dataset(dataset, args.field, out=args.out, config=config, **shared)
    return label_items([entry.item for entry in list_view(dataset)], args.out, config, **shared)


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """Parse ``name=value`` pairs; values are JSON where they parse as such, else strings.

    Raises:
        UsageError: a pair without ``=``, or whose name is no name.
    """
    import json

    from ..errors import UsageError

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
    handler = _AboveBars()
    handler.setFormatter(logging.Formatter("pseudomask: %(message)s"))
    package = logging.getLogger("fiftyone_plugin")
    if not package.handlers:
        package.addHandler(handler)

    def show(message: Warning | str, category: type[Warning], *_: Any) -> None:
        if issubclass(category, UserWarning):
            package.warning("%s", message)

    warnings.showwarning = show  # type: ignore[assignment]


class _AboveBars(logging.Handler):
    """Prints on stderr without tearing a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        from tqdm.auto import tqdm

        tqdm.write(printable(self.format(record)), file=sys.stderr)


def report(result: Any, *, quiet: bool) -> None:
    """Print where the results are, every skipped image with its reason, and what was left out."""
    for row in result.skipped:
        say(f"skipped {row.image}: {row.error}", error=True)
    for line in result.left_out.describe():
        say(line, error=True)
    if quiet:
        return
    seconds = result.run["seconds"]["total"]
    say(
        f"{len(result.labelled)} images labelled, {len(result.skipped)} skipped, "
        f"{len(result.class_names)} classes, {seconds:.0f} s"
    )
    say(f"masks:         {result.out / 'masks'}")
    say(f"table:         {result.out / 'samples.csv'}")
    say(f"contact sheet: {result.out / 'contact_sheet.png'}")
