"""``pseudomask compare``: how far the masks of two runs agree."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.console import say

if TYPE_CHECKING:
    from ..evaluation.comparison import Comparison

EXIT_SKIPPED = 3
LISTED = 10

DESCRIPTION = """\
Compare the masks of two runs of the same images. Classes are matched one to one so that most pixels
agree (Hungarian); id 0 stands for 0. Masks pair by relative path without extension; any two folders of
masks will do.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand and return its parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "compare",
        help="compare the masks of two runs",
        description=DESCRIPTION,
        epilog="exit code 3: some masks were left out, they are listed",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", metavar="RUN_A", help="output folder of `label`, or a folder of masks")
    parser.add_argument("b", metavar="RUN_B", help="another one")
    parser.add_argument(
        "--worst", type=int, default=5, metavar="N", help="list the N images that differ most (default 5)"
    )
    parser.add_argument("--json", metavar="FILE", help="write everything, also the agreement of every image")
    return parser


def run(args: argparse.Namespace) -> int:
    """Compare, print the scores, write the file asked for."""
    from ..common.progress import ConsoleProgress
    from ..evaluation.comparison import compare_folders

    names = _names(args.a), _names(args.b)
    result = compare_folders(args.a, args.b, progress=ConsoleProgress())
    say(f"images:        {result.images}")
    say(f"agreement:     {result.agreement:.4f} of the pixels have matching classes")
    say(f"adj. Rand:     {result.ari:.4f}")
    say(f"mutual inf.:   {result.nmi:.4f}")
    say("", f"{'class of A':<24} {'class of B':<24} {'IoU':>6}")
    for match in result.classes:
        say(f"{_name(names[0], match.a):<24} {_name(names[1], match.b):<24} {match.iou:>6.3f}")
    worst = sorted(result.per_image.items(), key=lambda pair: (pair[1], pair[0]))[: max(0, args.worst)]
    if worst:
        say("", "images that differ most:")
    for name, share in worst:
        say(f"  {share:.4f}  {name}")
    for entry in result.skipped[:LISTED]:
        say(f"left out: {entry}", error=True)
    if len(result.skipped) > LISTED:
        say(f"left out: {len(result.skipped) - LISTED} more", error=True)
    if args.json:
        _write(result, Path(args.json))
    return EXIT_SKIPPED if result.skipped else 0


def _write(result: Comparison, path: Path) -> None:
    from ..common.files import write_json

    classes = [{**vars(match), "iou": match.iou} for match in result.classes]
    document = {**vars(result), "classes": classes}
    document["left_out"] = {entry.key: entry.reason for entry in document.pop("skipped")}
    write_json(path, document)


def _names(folder: str) -> dict[int, str]:
    """Return the class names beside a run's masks; none where there is no such file."""
    from ..common.classes import read_class_names

    path = Path(folder) / "classes.json"
    return read_class_names(path)[0] if os.path.lexists(path) else {}


def _name(names: dict[int, str], id_: int | None) -> str:
    return "-" if id_ is None else names.get(id_, f"id {id_}")
