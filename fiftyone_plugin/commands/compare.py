"""``pseudomask compare``: how far the masks of two runs agree."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..comparison import Comparison

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
    from ..comparison import compare_folders
    from ..progress import ConsoleProgress

    result = compare_folders(args.a, args.b, progress=ConsoleProgress())
    names = _names(args.a), _names(args.b)
    print(f"images:        {result.images}")
    print(f"agreement:     {result.agreement:.4f} of the pixels have matching classes")
    print(f"adj. Rand:     {result.ari:.4f}")
    print(f"mutual inf.:   {result.nmi:.4f}")
    print(f"\n{'class of A':<24} {'class of B':<24} {'IoU':>6}")
    for match in result.classes:
        print(f"{_name(names[0], match.a):<24} {_name(names[1], match.b):<24} {match.iou:>6.3f}")
    worst = sorted(result.per_image.items(), key=lambda pair: (pair[1], pair[0]))[: max(0, args.worst)]
    if worst:
        print("\nimages that differ most:")
    for name, share in worst:
        print(f"  {share:.4f}  {name}")
    for name, reason in list(result.left_out.items())[:LISTED]:
        print(f"left out: {name}: {reason}", file=sys.stderr)
    if len(result.left_out) > LISTED:
        print(f"left out: {len(result.left_out) - LISTED} more", file=sys.stderr)
    if args.json:
        _write(result, Path(args.json))
    return EXIT_SKIPPED if result.left_out else 0


def _write(result: Comparison, path: Path) -> None:
    from ..rundir import write_json

    classes = [{**vars(match), "iou": match.iou} for match in result.classes]
    write_json(path, {**vars(result), "classes": classes})


def _names(folder: str) -> dict[int, str]:
    """Return the class names beside a run's masks; none for other folders."""
    try:
        document = json.loads((Path(folder) / "classes.json").read_text(encoding="utf-8"))
        return {int(id_): str(name) for id_, name in document.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _name(names: dict[int, str], id_: int | None) -> str:
    return "-" if id_ is None else names.get(id_, f"id {id_}")
