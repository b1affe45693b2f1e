"""A segmenter trained on exported masks, beside its teacher, on images that neither has seen.

    python -m benchmarks.student --data FOLDER... [--seeds 0 1 2] [--held-out 0.3] [--epochs 20]

A share of the images is held out, drawn by the seed. The teacher is Mosaic with its defaults and K = C,
fitted on the others; its masks of these are exported (``ultralytics-semantic``) and
docs/examples/train_student.py learns from them. Both label the held-out images, and are scored by
IoU-Hungarian at native size, ignoring what the data set ignores. Ground truth is read for the score alone.
"""

from __future__ import annotations

import argparse
import runpy
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import BenchmarkData, default_folder, load_folder
from fiftyone_plugin import export, label
from fiftyone_plugin.common.paths import cache_dir
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.evaluation import evaluate_pairs
from fiftyone_plugin.features.backbones import load_backbone
from fiftyone_plugin.formats.choosing import draw_validation
from fiftyone_plugin.masks.files import read_mask

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "train_student.py"


def score(data: BenchmarkData, masks: Path, keys: set[str]) -> tuple[float, float]:
    """Return mIoU and pixel accuracy in % of the masks of these images."""
    pairs = (
        (item.key, read_mask(masks / Path(item.key).with_suffix(".png")), data.truth(item))
        for item in data.items
        if item.key in keys
    )
    result = evaluate_pairs(pairs, data.classes, data.ignore, "iou-hungarian", unlabelled=0, replicates=0)
    return 100 * result.scores["miou"], 100 * result.scores["pixel_accuracy"]


def run(data: BenchmarkData, seed: int, args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Return the scores of both, and the CPU seconds of the student's training."""
    held_out = draw_validation((item.key for item in data.items), args.held_out, seed)
    for item in data.items:
        place = work / ("held-out" if item.key in held_out else "seen") / item.key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(Path(item.path).resolve())
    settings = {"classes": data.n_classes, "seed": seed, "cache": True}
    label(work / "seen", out=work / "teacher", **settings)
    label(work / "held-out", out=work / "taught", model=work / "teacher" / "model", cache=True)
    export(
        work / "teacher",
        out=work / "export",
        format="ultralytics-semantic",
        images="symlink",
        min_confidence=args.min_confidence,
        min_quality=args.min_quality or None,
    )
    example = runpy.run_path(str(EXAMPLE))
    backbone = load_backbone(None, cache_dir=cache_dir(), precision="float32")
    start = time.process_time()
    student, _ = example["train"](work / "export", backbone, epochs=args.epochs, seed=seed)
    seconds = time.process_time() - start
    example["predict"](
        student, backbone, work / "held-out", work / "student", example["class_ids"](work / "export")
    )
    scores = {"teacher": work / "taught" / "masks", "student": work / "student"}
    return {name: score(data, masks, held_out) for name, masks in scores.items()} | {"seconds": seconds}


def main(argv: list[str] | None = None) -> int:
    """Print a row for each data set and seed, and the mean of each data set."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.student", description=__doc__)
    parser.add_argument("--data", nargs="+", type=Path, default=[default_folder() / "camvid"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--held-out", type=float, default=0.3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--min-confidence", type=float, default=0.0)
    parser.add_argument("--min-quality", type=float, default=0.0)
    args = parser.parse_args(argv)
    rows = []
    for folder in args.data:
        data = load_folder(folder)
        found = []
        for seed in args.seeds:
            work = Path(tempfile.mkdtemp(prefix="pseudomask-student-"))
            try:
                found.append(run(data, seed, args, work))
            finally:
                shutil.rmtree(work)
            rows.append([data.name, str(seed), *_cells(found[-1])])
            print(rows[-1], flush=True)
        mean = {name: np.mean([each[name] for each in found], 0) for name in found[0]}
        rows.append([data.name, "mean", *_cells(mean)])
    header = ["data", "seed", "teacher, mIoU / accuracy", "student", "training, CPU s"]
    print(format_table(header, rows))
    return 0


def _cells(found: dict[str, Any]) -> list[str]:
    return [f"{found[name][0]:.1f} / {found[name][1]:.1f}" for name in ("teacher", "student")] + [
        f"{found['seconds']:.0f}"
    ]


if __name__ == "__main__":
    sys.exit(main())
