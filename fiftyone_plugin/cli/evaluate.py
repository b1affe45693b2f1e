"""``pseudomask evaluate``: compare a folder of masks with a folder of ground truth."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..common.console import say, say_text
from ..common.remote import url_of
from ..errors import UsageError
from ..evaluation.geometry import BOUNDARY_TOLERANCE
from ..evaluation.protocols import DEFAULT, PROTOCOLS
from . import shared


def _id_or_none(text: str) -> int | None:
    return None if text.lower() == "none" else int(text)


@shared.command(
    "evaluate",
    help="compare masks with ground truth",
    description="Compare predicted masks with ground truth. Masks are single-channel PNG (or BMP, TIFF) "
    "files of class ids and pair by relative path without extension; a folder with masks/ in it stands "
    "for that one. Clusters get the classes that the protocol gives them; the ground truth's names come "
    "from --names.",
    notes="protocols:\n" + shared.listed({p.name: p.explanation for p in PROTOCOLS.values()}),
    json="every score, the mapping and the per-image table",
    gpus=False,
)
def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``evaluate``."""
    add = parser.add_argument
    add("pred", metavar="PRED_DIR", help="predicted masks, or the output folder of `label`")
    add("true", metavar="GT_DIR", help="ground-truth masks")
    add("--names", metavar="FILE", help='JSON: {"1": "sky", ...}, or a list of names of ids 0, 1, ...')
    add("--classes", action=shared.Renamed, now="--names")
    ignored = "ground-truth ids that take no part, e.g. 255"
    add("--ignore", type=int, nargs="+", default=[], metavar="ID", help=ignored)
    add("--protocol", metavar="NAME", help=f"see below; default {DEFAULT}, or that of --mapping")
    unlabelled = "predicted id that means no label; 'none' if 0 is a class or cluster (default 0)"
    add("--unlabelled", type=_id_or_none, default=0, metavar="ID", help=unlabelled)
    background = "class of unmatched clusters, for unmatched-background"
    add("--background", type=int, default=0, metavar="ID", help=background)
    add("--resize", action="store_true", help="bring predictions to the ground truth's size (nearest)")
    boundary = f"also measure the boundary F; a share of the diagonal, {BOUNDARY_TOLERANCE} if left out"
    add("--boundary", type=float, nargs="?", const=BOUNDARY_TOLERANCE, metavar="TOLERANCE", help=boundary)
    add("--bootstrap", type=int, default=1000, metavar="N", help="replicates for the intervals; 0: none")
    add("--mapping", metavar="FILE", help="use the mapping of this file (of --save-mapping or --json)")
    add("--save-mapping", metavar="FILE", help="write the mapping of clusters to classes")
    calibrate = "learn from the run's quality scores what IoU to expect, also without ground truth"
    add("--calibrate", action="store_true", help=calibrate)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the tables, write the files asked for."""
    from ..evaluation import Mapping, evaluate_folders
    from ..evaluation.report import format_result

    if args.calibrate and url_of(args.pred) is not None:
        raise UsageError("--calibrate writes into the run, which must be a folder of this machine")
    result = evaluate_folders(
        args.pred,
        args.true,
        classes=args.names,
        mapping=Mapping.load(args.mapping) if args.mapping else None,
        replicates=args.bootstrap,
        progress=shared.progress_of(args),
        **shared.chosen(args, "ignore", "protocol", "unlabelled", "background", "resize", "boundary"),
        **shared.engine_settings(args),
    )
    summary = shared.finish(args, result.to_dict)
    if summary:
        say_text(format_result(result))
    left_out = result.settings["left_out"]
    _list("predictions without ground truth", left_out["only_pred"])
    _list("ground truth without prediction", left_out["only_true"])
    _list("pairs that cannot be compared", [str(entry) for entry in result.skipped])
    if args.save_mapping:
        if result.mapping is None:
            what = "matches every image on its own, there is no mapping to save"
            raise UsageError(f"protocol {result.protocol} {what}")
        result.mapping.save(args.save_mapping)
    if args.calibrate:
        from ..runs.calibration import calibrate_run

        iou = dict(zip(result.images["name"], result.images["iou"], strict=True))
        calibrated = calibrate_run(Path(args.pred), iou)
        say(*([calibrated] if summary else []))
    return shared.Exit.LEFT_OUT if any(left_out.values()) else shared.Exit.DONE


def _list(title: str, items: list[str]) -> None:
    if items:
        say(f"{title}: {len(items)}", error=True)
        shared.list_skipped(f"  {item}" for item in items)
