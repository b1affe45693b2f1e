"""Do scores without ground truth tell good masks from bad ones?

    python -m benchmarks.mask_quality --data DATA... [--methods NAME...] [--seeds 0 1 2 3 4]

For every image the score is set beside its true IoU (mean over the classes present, under the IoU-Hungarian
naming of the whole run): Spearman's rank correlation, AUROC for finding the worst fifth of the images, and
the mean IoU of what is kept when the lowest-scored images are filtered out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from benchmarks.data import BenchmarkData, default_folder, load_folder
from benchmarks.quality import build
from fiftyone_plugin.common.paths import cache_dir
from fiftyone_plugin.common.progress import NullProgress
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.evaluation import evaluate_pairs
from fiftyone_plugin.features.backbones import Backbone, load_backbone
from fiftyone_plugin.features.source import ImageFeatureSource, store_spec
from fiftyone_plugin.features.store import FeatureStore
from fiftyone_plugin.images.plots import plot_filtering
from fiftyone_plugin.masks.quality import image_quality
from fiftyone_plugin.masks.refine import REFINERS, create_refiner
from fiftyone_plugin.masks.scores import LabelScores
from fiftyone_plugin.runs.calibration import KEPT, filtering_curve
from fiftyone_plugin.runs.streaming import Replica, label_images


def entropy(scores: LabelScores) -> float:
    p = np.clip(scores.scores, 1e-9, 1)
    return -float(-(p * np.log(p)).sum(0).mean())


SCORES: dict[str, Callable[[LabelScores], float]] = {
    "shipped": lambda found: image_quality(found.scores, found.agreement),
    "margin": lambda found: image_quality(found.scores),
    "entropy": entropy,
    "fewest classes": lambda found: -float(len(found.scores)),
}


def run(
    name: str, data: BenchmarkData, backbone: Backbone, seed: int, args: argparse.Namespace
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return every score of every image, (n,) each, and the true IoU, (n,)."""
    method = build(name, data.n_classes, seed, args.refine, {})
    store = FeatureStore(cache_dir(), store_spec(backbone, args.size), limit_bytes=None)
    found: dict[str, list[float]] = {score: [] for score in SCORES}
    refiner = create_refiner(args.refine)
    with tempfile.TemporaryDirectory() as memo:
        source = ImageFeatureSource(
            data.items, backbone, method.inputs, size=args.size, store=store, memo_dir=Path(memo)
        )
        method.fit(source, progress=NullProgress())
        truth = {item.key: item for item in data.items}

        def pairs():
            for image, labelled in label_images(source, [Replica(backbone, method)], refiner):
                for score, function in SCORES.items():
                    found[score].append(function(labelled.scores.to_numpy()))
                yield image.key, labelled.mask(), data.truth(truth[image.key])

        result = evaluate_pairs(
            pairs(), data.classes, data.ignore, "iou-hungarian", unlabelled=None, replicates=0, seed=seed
        )
    return {k: np.array(v) for k, v in found.items()}, np.asarray(result.images["iou"])


def judge(score: np.ndarray, iou: np.ndarray) -> list[float]:
    """Return rank correlation, AUROC of the worst fifth, and the mean IoU of the best 100, 80, ... %."""
    known = ~np.isnan(iou)
    score, iou = score[known], iou[known]
    worst = iou <= np.quantile(iou, 0.2)
    kept = filtering_curve(score, iou)
    return [float(spearmanr(score, iou).statistic), float(roc_auc_score(worst, -score)), *kept]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mask_quality", description=__doc__)
    default = [default_folder() / name for name in ("msrc_v2", "coco27")]
    parser.add_argument("--data", type=Path, nargs="+", default=default)
    parser.add_argument("--methods", nargs="+", default=["mosaic"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--refine", choices=list(REFINERS), default="none")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--plot", type=Path, metavar="DIR", help="draw the filtering of each data set")
    args = parser.parse_args(argv)
    backbone = load_backbone(None, cache_dir=cache_dir())
    header = ["data", "method", "score", "spearman", "auroc", *(f"best {share:.0%}" for share in KEPT)]
    rows = []
    for folder in args.data:
        data = load_folder(folder)
        for name in args.methods:
            judged: dict[str, list[list[float]]] = {score: [] for score in SCORES}
            for seed in args.seeds:
                found, iou = run(name, data, backbone, seed, args)
                for score, values in found.items():
                    judged[score].append(judge(values, iou))
            for score, numbers in judged.items():
                mean, std = np.mean(numbers, axis=0), np.std(numbers, axis=0)
                cells = [f"{m:.2f} ± {s:.2f}" for m, s in zip(mean, std, strict=True)]
                rows.append([data.name, name, score, *cells])
            if args.plot:
                args.plot.mkdir(parents=True, exist_ok=True)
                curves = {score: np.mean(numbers, axis=0)[2:].tolist() for score, numbers in judged.items()}
                plot_filtering(KEPT, curves, args.plot / f"filtering-{data.name}-{name}.png")
    print(format_table(header, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
