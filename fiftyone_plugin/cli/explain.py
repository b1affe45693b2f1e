"""``pseudomask explain``: every stage of a method on one photo, as one picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..common.console import say
from ..errors import UsageError
from . import shared
from .label import NOTES, add_method_arguments, method_settings, prepare_process


@shared.command(
    "explain",
    help="draw every stage of a method on one photo",
    description="Draw every stage of a method on one photo as a strip of captioned panels. Without "
    "--model, the method is fitted first: on --fit-on, or on what IMAGE names.",
    notes=NOTES,
)
def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``explain``."""
    add = parser.add_argument
    add("image", metavar="IMAGE", help="image; of a folder or glob, the first is drawn")
    add("--out", type=shared.here, default=Path("explain.png"), metavar="FILE", help="default: %(default)s")
    add("--model", type=Path, metavar="DIR", help="RUN/model of an earlier run, instead of fitting")
    add("--fit-on", metavar="IMAGES", help="folder, glob or list to fit the method on")
    add_method_arguments(parser)
    add("--columns", type=int, metavar="N", help="panels in one row (default: all)")
    add("--width", type=int, default=240, metavar="PX", help="width of a panel (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run ``pseudomask explain``."""
    from ..runs.explain import explain

    if args.columns is not None and args.columns < 1:
        raise UsageError(f"--columns must be at least 1, got {args.columns}")
    if not 16 <= args.width <= 4096:
        raise UsageError(f"--width must be 16..4096 pixels, got {args.width}")
    prepare_process()
    how = {**shared.chosen(args, "fit_on", "model"), **method_settings(args)}
    result = explain(args.image, progress=shared.progress_of(args), **how)
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        result.draw(args.columns, args.width).save(args.out)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {args.out}: {error}; choose another --out") from error
    if not args.quiet:
        say(f"{len(result.panels)} panels, fitted on {result.fitted_on}: {args.out}")
    return shared.Exit.DONE
