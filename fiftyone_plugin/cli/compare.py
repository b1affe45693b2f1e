"""``pseudomask compare``: how far the masks of two runs agree."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.console import say
from . import shared

if TYPE_CHECKING:
    from ..evaluation.comparison import Comparison


@shared.command(
    "compare",
    help="compare the masks of two runs",
    description="Compare the masks of two runs of the same images. Classes are matched one to one so "
    "that most pixels agree (Hungarian); id 0 stands for 0. Masks pair by relative path without "
    "extension; any two folders of masks will do.",
    json="everything, also the agreement of every image,",
)
def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``compare``."""
    add = parser.add_argument
    add("a", metavar="RUN_A", help="output folder of `label`, or a folder of masks")
    add("b", metavar="RUN_B", help="another one")
    add("--worst", type=int, default=5, metavar="N", help="list the N images that differ most (default 5)")


def run(args: argparse.Namespace) -> int:
    """Compare, print the scores, write the file asked for."""
    from ..evaluation.comparison import compare_folders

    names = _names(args.a), _names(args.b)
    result = compare_folders(args.a, args.b, progress=shared.progress_of(args))
    if shared.finish(args, lambda: _document(result)):
        say(f"images:        {result.images}")
        say(f"agreement:     {result.agreement:.4f} of the pixels have matching classes")
        say(f"adj. Rand:     {result.ari:.4f}", f"mutual inf.:   {result.nmi:.4f}")
        say("", f"{'class of A':<24} {'class of B':<24} {'IoU':>6}")
        for match in result.classes:
            say(f"{_name(names[0], match.a):<24} {_name(names[1], match.b):<24} {match.iou:>6.3f}")
        worst = sorted(result.per_image.items(), key=lambda pair: (pair[1], pair[0]))[: max(0, args.worst)]
        say(*(["", "images that differ most:"] if worst else []))
        say(*(f"  {share:.4f}  {name}" for name, share in worst))
    shared.list_skipped(f"left out: {entry}" for entry in result.skipped)
    return shared.Exit.LEFT_OUT if result.skipped else shared.Exit.DONE


def _document(result: Comparison) -> dict[str, object]:
    classes = [{**vars(match), "iou": match.iou} for match in result.classes]
    document = {**vars(result), "classes": classes}
    return document | {"left_out": {entry.key: entry.reason for entry in document.pop("skipped")}}


def _names(folder: str) -> dict[int, str]:
    """Return the class names beside a run's masks; none where there is no such file."""
    from ..common.classes import read_class_names

    path = Path(folder) / "classes.json"
    return read_class_names(path)[0] if os.path.lexists(path) else {}


def _name(names: dict[int, str], id_: int | None) -> str:
    return "-" if id_ is None else names.get(id_, f"id {id_}")
