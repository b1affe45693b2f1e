"""``pseudomask evaluate``: compare a folder of masks with a folder of ground truth."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.console import say, say_text
from ..errors import ImageReadError, UsageError
from ..evaluation.geometry import BOUNDARY_TOLERANCE
from ..evaluation.protocols import DEFAULT, PROTOCOLS

if TYPE_CHECKING:
    from ..common.progress import Stage
    from ..common.skipped import Skipped
    from ..evaluation.folders import FolderPairs
    from ..evaluation.summary import Pair

EXIT_SKIPPED = 3
LISTED = 10

DESCRIPTION = """\
Compare predicted masks with ground truth. Masks are single-channel PNG (or BMP, TIFF) files of class
ids and pair by relative path without extension; a folder with masks/ in it stands for that one.
Clusters get the classes that the protocol gives them; the ground truth's names come from --classes.
"""


def _id_or_none(text: str) -> int | None:
    return None if text.lower() == "none" else int(text)


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand and return its parser."""
    protocols = "\n".join(f"  {p.name:<21} {p.explanation}" for p in PROTOCOLS.values())
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "evaluate",
        help="compare masks with ground truth",
        description=DESCRIPTION,
        epilog=f"protocols:\n{protocols}\n\nexit code 3: some masks were left out, they are listed",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pred", metavar="PRED_DIR", help="predicted masks, or the output folder of `label`")
    parser.add_argument("true", metavar="GT_DIR", help="ground-truth masks")
    parser.add_argument(
        "--classes", metavar="FILE", help='JSON: {"1": "sky", ...}, or a list of names of ids 0, 1, ...'
    )
    parser.add_argument(
        "--ignore",
        type=int,
        nargs="+",
        default=[],
        metavar="ID",
        help="ground-truth ids that take no part, e.g. 255",
    )
    parser.add_argument(
        "--protocol",
        metavar="NAME",
        help=f"see below; default {DEFAULT}, or that of the file given as --mapping",
    )
    parser.add_argument(
        "--unlabelled", type=_id_or_none, default=0, metavar="ID",
        help="predicted id that means no label; 'none' if 0 is a class or cluster (default 0)",
    )  # fmt: skip
    parser.add_argument(
        "--background",
        type=int,
        default=0,
        metavar="ID",
        help="class of unmatched clusters, for unmatched-background",
    )
    parser.add_argument(
        "--resize", action="store_true", help="bring predictions to the ground truth's size (nearest)"
    )
    parser.add_argument(
        "--boundary", type=float, nargs="?", const=BOUNDARY_TOLERANCE, metavar="TOLERANCE",
        help=f"also measure the boundary F; a share of the diagonal, {BOUNDARY_TOLERANCE} if left out",
    )  # fmt: skip
    parser.add_argument(
        "--bootstrap", type=int, default=1000, metavar="N", help="replicates for the intervals; 0: none"
    )
    parser.add_argument(
        "--mapping", metavar="FILE", help="use the mapping of this file (of --save-mapping or --json)"
    )
    parser.add_argument("--save-mapping", metavar="FILE", help="write the mapping of clusters to classes")
    parser.add_argument(
        "--json", metavar="FILE", help="write every score, the mapping and the per-image table"
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="learn from the run's quality scores what IoU to expect, also without ground truth",
    )
    return parser


def _pairs(
    found: FolderPairs, classes: dict[int, str] | None, skipped: list[Skipped], stage: Stage
) -> Iterator[Pair]:
    from ..common.skipped import Skipped
    from ..masks.files import read_mask
    from ..masks.rules import MaskRules

    rules = MaskRules(colours=False, ids=frozenset(classes or ()))

    for name, pred_path, true_path in found.pairs:
        stage.update()
        try:
            pred, true = read_mask(pred_path), read_mask(true_path, rules)
        except ImageReadError as error:
            skipped.append(Skipped(name, str(error)))
            continue
        yield name, pred, true


def _list(title: str, items: list[str]) -> None:
    if items:
        shown = items[:LISTED]
        rest = [f"  ... and {len(items) - len(shown)} more"] if len(items) > len(shown) else []
        say(f"{title}: {len(items)}", *(f"  {item}" for item in shown), *rest, error=True)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the tables, write the files asked for."""
    from ..common.progress import ConsoleProgress
    from ..evaluation import Mapping, evaluate_pairs, get_protocol
    from ..evaluation.folders import pair_masks, read_classes
    from ..evaluation.report import format_result

    mapping = Mapping.load(args.mapping) if args.mapping else None
    protocol = get_protocol(args.protocol or (mapping.protocol if mapping else DEFAULT))
    classes = read_classes(args.classes) if args.classes else None
    found = pair_masks(args.pred, args.true)
    skipped: list[Skipped] = []
    with ConsoleProgress().stage("comparing masks", len(found.pairs)) as stage:
        result = evaluate_pairs(
            _pairs(found, classes, skipped, stage),
            classes,
            args.ignore,
            protocol.name,
            unlabelled=args.unlabelled,
            background=args.background,
            mapping=mapping,
            resize=args.resize,
            boundary=args.boundary,
            replicates=args.bootstrap,
            skipped=skipped,
        )
    result.settings["left_out"] = {
        "only_pred": found.only_pred,
        "only_true": found.only_true,
        "unreadable": [entry.reason for entry in skipped],
    }
    say_text(format_result(result))
    _list("predictions without ground truth", found.only_pred)
    _list("ground truth without prediction", found.only_true)
    _list("pairs that cannot be compared", [f"{entry.key}: {entry.reason}" for entry in skipped])
    if args.save_mapping:
        if result.mapping is None:
            raise UsageError(
                f"protocol {protocol.name} matches every image on its own, there is no mapping to save"
            )
        result.mapping.save(args.save_mapping)
    if args.json:
        result.save(args.json)
    if args.calibrate:
        from ..runs.calibration import calibrate_run

        iou = dict(zip(result.images["name"], result.images["iou"], strict=True))
        say(calibrate_run(Path(args.pred), iou))
    return EXIT_SKIPPED if found.only_pred or found.only_true or skipped else 0
