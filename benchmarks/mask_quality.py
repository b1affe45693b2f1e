"""Do scores without ground truth tell good masks from bad ones?

    python -m benchmarks.mask_quality [--data DATA...] [--seeds 0 1 2] [--keep FOLDER] [--learn]

For every image the score is set beside its true IoU (mean over the classes present, under the IoU-Hungarian
naming of the whole run): Spearman's rank correlation, AUROC for finding the worst fifth of the images, and
the mean IoU of what is kept when the lowest-scored images are filtered out.

With --learn the numbers of fiftyone_plugin/masks/quality.py are learnt: a row *learnt from the others* is of
numbers from the other data sets, and the last lines are the numbers from all of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from scipy.stats import rankdata, spearmanr
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score

from benchmarks.data import BenchmarkData, default_folder, load_folder
from benchmarks.quality import build
from fiftyone_plugin.common.paths import cache_dir
from fiftyone_plugin.common.progress import NullProgress
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.evaluation import EvaluationResult, evaluate_pairs
from fiftyone_plugin.features.backbones import Backbone, load_backbone
from fiftyone_plugin.features.source import ImageFeatureSource, store_spec
from fiftyone_plugin.features.store import FeatureStore
from fiftyone_plugin.images.plots import plot_filtering
from fiftyone_plugin.masks.quality import (
    image_measures,
    image_quality,
    margin,
    segment_measures,
    segment_quality,
)
from fiftyone_plugin.masks.refine import REFINERS, create_refiner
from fiftyone_plugin.masks.scores import LabelScores
from fiftyone_plugin.runs.calibration import KEPT, filtering_curve
from fiftyone_plugin.runs.streaming import Replica, label_images

SETS = ("camvid", "coco27", "crack", "cwfid", "ecssd", "msrc_v2")
SHRINKAGE = 1.0  # of the weights of an image, in units of the variance of what they weigh


def entropy(scores: LabelScores) -> float:
    p = np.clip(scores.scores, 1e-9, 1)
    return -float(-(p * np.log(p)).sum(0).mean())


def agreement(scores: LabelScores) -> float:
    """The score of earlier versions: agreement by area."""
    if scores.agreement is None:
        return float("nan")
    share = np.bincount(scores.scores.argmax(0).ravel(), minlength=len(scores.scores)) / scores.scores[0].size
    return float(share @ scores.agreement)


SCORES: dict[str, Callable[[LabelScores], float]] = {
    "shipped": lambda found: image_quality(found.scores, found.agreement, found.refined),
    "agreement": agreement,
    "margin": lambda found: float(margin(found.scores).mean()),
    "entropy": entropy,
    "fewest classes": lambda found: -float(len(found.scores)),
}


@dataclass(frozen=True)
class Measured:
    """What is known of the masks of one run.

    Attributes:
        iou: (n,) true IoU of the images; NaN where nothing is scored.
        scores: (n, S) of :data:`SCORES`.
        measures: (n, 4) of an image; NaN where they are not what its quality is made of.
        segment_iou: (s,) true IoU of the segments.
        segment_scores: (s, 2) shipped, and agreement.
        segment_measures: (s, 2).
    """

    iou: np.ndarray
    scores: np.ndarray
    measures: np.ndarray
    segment_iou: np.ndarray
    segment_scores: np.ndarray
    segment_measures: np.ndarray


def run(name: str, data: BenchmarkData, backbone: Backbone, seed: int, args: argparse.Namespace) -> Measured:
    """Fit a method on a data set, label it, and measure its masks."""
    method = build(name, data.n_classes, seed, args.refine, {})
    store = FeatureStore(cache_dir(), store_spec(backbone, args.size), limit_bytes=None)
    found: list[tuple[LabelScores, np.ndarray]] = []
    classes = np.array(sorted(data.classes))
    with tempfile.TemporaryDirectory() as memo:
        source = ImageFeatureSource(
            data.items, backbone, method.inputs, size=args.size, store=store, memo_dir=Path(memo)
        )
        method.fit(source, progress=NullProgress())
        truth = {item.key: item for item in data.items}

        def pairs():
            for image, labelled in label_images(
                source, [Replica(backbone, method)], create_refiner(args.refine)
            ):
                scores, mask = labelled.scores.to_numpy(), labelled.mask()
                true = data.truth(truth[image.key])
                found.append((scores, counts(mask, true, scores.labels, classes)))
                yield image.key, mask, true

        result = evaluate_pairs(
            pairs(), data.classes, data.ignore, "iou-hungarian", unlabelled=None, replicates=0, seed=seed
        )
    return measured(found, result, classes)


def counts(mask: np.ndarray, true: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the (L + 1, C) pixels of each label in each class; those of no label in the last row."""
    known = np.isin(true, classes)
    rows = np.where(np.isin(mask, labels), np.searchsorted(labels, mask), len(labels))[known]
    cells = rows * len(classes) + np.searchsorted(classes, true[known])
    return np.bincount(cells, minlength=(len(labels) + 1) * len(classes)).reshape(-1, len(classes))


def measured(
    found: Sequence[tuple[LabelScores, np.ndarray]], result: EvaluationResult, classes: np.ndarray
) -> Measured:
    """Set what is known without ground truth beside the truth."""
    assert result.mapping is not None
    place = {int(id_): column for column, id_ in enumerate(classes)}
    unknown = np.full(4, np.nan)
    measures, ious, own, inside = [], [], [], []
    for scores, table in found:
        learnt = scores.agreement is not None and not scores.refined
        measures.append(image_measures(scores.scores, scores.agreement) if learnt else unknown)
        if not learnt:
            continue
        for row, label in enumerate(scores.labels):
            column = place.get(result.mapping.target(label))
            hit = table[row, column] if column is not None else 0
            union = table[row].sum() + (table[:, column].sum() if column is not None else 0) - hit
            ious.append(hit / union if union else np.nan)
        own.append(np.column_stack([segment_quality(scores.scores, scores.agreement), scores.agreement]))
        inside.append(segment_measures(scores.scores, scores.agreement))
    values = [[score(scores) for score in SCORES.values()] for scores, _ in found]
    empty = np.zeros((0, 2))
    return Measured(
        np.asarray(result.images["iou"], np.float64),
        np.array(values),
        np.array(measures),
        np.array(ious),
        np.concatenate([empty, *own]),
        np.concatenate([empty, *inside]),
    )


def judge(score: np.ndarray, iou: np.ndarray) -> list[float]:
    """Return rank correlation, AUROC of the worst fifth, calibration error, mean IoU of what is kept."""
    known = ~(np.isnan(iou) | np.isnan(score))
    score, iou = score[known], iou[known]
    worst = iou <= np.quantile(iou, 0.2)
    rank, auroc = float(spearmanr(score, iou).statistic), float(roc_auc_score(worst, -score))
    return [rank, auroc, calibration_error(score, iou), *filtering_curve(score, iou)]


def calibration_error(score: np.ndarray, iou: np.ndarray) -> float:
    """Return how far fifths of equal size are from their mean IoU on average."""
    parts = np.array_split(np.argsort(score, kind="stable"), 5)
    return float(sum(abs((score[part] - iou[part]).sum()) for part in parts) / len(score))


# ---------------------------------------------------------------------- learning

Runs = dict[str, list[Measured]]
"""data set -> its runs"""


def fractional(x: np.ndarray, iou: np.ndarray, weight: np.ndarray) -> tuple[float, ...]:
    """Return constant and weights of the logistic function of (n, M) that fits (n,) values in [0, 1]."""
    twice, hit = np.concatenate([x, x]), np.repeat([1, 0], len(x))
    model = LogisticRegression(C=1e4, max_iter=1000).fit(
        twice, hit, sample_weight=np.concatenate([weight * iou, weight * (1 - iou)])
    )
    return (float(model.intercept_[0]), *model.coef_[0].tolist())


def learn_segments(runs: Runs) -> tuple[float, ...]:
    """Return ``SEGMENT``: every run counts alike."""
    every = [one for own in runs.values() for one in own if len(one.segment_iou)]
    known = [~np.isnan(one.segment_iou) for one in every]
    weight = np.concatenate([np.full(k.sum(), 1e4 / k.sum() / len(every)) for k in known])
    x = np.concatenate([one.segment_measures[k] for one, k in zip(every, known, strict=True)])
    return fractional(
        x, np.concatenate([o.segment_iou[k] for o, k in zip(every, known, strict=True)]), weight
    )


def learn_images(runs: Runs) -> tuple[float, ...]:
    """Return ``IMAGE``: the weights tell images of one run apart, and each set counts alike.

    They are learnt from ranks, as runs differ in how much their images differ; then they are scaled so that
    the score rises as the IoU does, and meets its mean.
    """
    every = [(one, 1 / len(own)) for own in runs.values() for one in own if not np.isnan(one.measures).any()]
    known = [~np.isnan(one.iou) for one, _ in every]
    x = [one.measures[k] for (one, _), k in zip(every, known, strict=True)]
    iou = [one.iou[k] for (one, _), k in zip(every, known, strict=True)]
    weight = np.concatenate([np.full(k.sum(), w / k.sum()) for (_, w), k in zip(every, known, strict=True)])
    inside = np.concatenate([own - own.mean(0) for own in x])
    scale = np.sqrt(np.average(inside**2, axis=0, weights=weight))
    rank = np.concatenate([rankdata(own) / len(own) - 0.5 for own in iou])
    model = Ridge(SHRINKAGE * weight.sum(), fit_intercept=False).fit(
        inside / scale, rank, sample_weight=weight
    )
    weights = model.coef_ / scale
    rise = np.concatenate([own - own.mean() for own in iou])
    slope = np.average((inside @ weights) * rise, weights=weight) / np.average(
        (inside @ weights) ** 2, weights=weight
    )
    level = np.average(np.concatenate(iou), weights=weight)
    weights *= slope / (level * (1 - level))  # the logistic function rises by p (1 - p)
    constant = np.log(level / (1 - level)) - np.average(np.concatenate(x) @ weights, weights=weight)
    return (float(constant), *weights.tolist())


def logistic(x: np.ndarray, numbers: tuple[float, ...]) -> np.ndarray:
    return 1 / (1 + np.exp(-(numbers[0] + x @ np.array(numbers[1:]))))


def without(runs: Runs, name: str) -> Runs:
    return {other: own for other, own in runs.items() if other != name}


def learning(runs: Runs) -> str:
    """Return the tables of leaving one set out, and the numbers from all sets."""
    images, segments = [], []
    for name, own in runs.items():
        others = without(runs, name)
        if np.isnan(own[0].measures).any():
            continue  # no number is learnt for images with lines
        numbers = learn_images(others)
        images.append(
            row(name, "learnt from the others", [judge(logistic(o.measures, numbers), o.iou) for o in own])
        )
        numbers = learn_segments(others)
        for title, column in (("learnt from the others", None), ("agreement", 1)):
            judged = []
            for one in own:
                score = (
                    logistic(one.segment_measures, numbers)
                    if column is None
                    else one.segment_scores[:, column]
                )
                judged.append(judge(score, one.segment_iou)[:3])
            segments.append(row(name, title, judged))
    lines = [format_table(HEADER, images), "segments", format_table(HEADER[:5], segments)]
    for what, numbers in (("SEGMENT", learn_segments(runs)), ("IMAGE", learn_images(runs))):
        lines.append(f"{what} = ({', '.join(f'{number:.2f}' for number in numbers)})")
    return "\n".join(lines)


# ---------------------------------------------------------------------- command

HEADER = ["data", "score", "spearman", "auroc", "ece", *(f"best {share:.0%}" for share in KEPT)]


def row(data: str, score: str, judged: list[list[float]]) -> list[str]:
    mean, std = np.mean(judged, axis=0), np.std(judged, axis=0)
    return [data, score, *(f"{m:.2f} ± {s:.2f}" for m, s in zip(mean, std, strict=True))]


def kept_or_run(
    name: str, data: BenchmarkData, backbone: Backbone, seed: int, args: argparse.Namespace
) -> Measured:
    """Return a run from the folder of those that were measured before, or measure it."""
    if args.keep is None:
        return run(name, data, backbone, seed, args)
    path = args.keep / f"{data.name}-{name}-{args.refine}-{args.size}-{seed}.npz"
    if not path.is_file():
        args.keep.mkdir(parents=True, exist_ok=True)
        found = run(name, data, backbone, seed, args)
        np.savez(path, **{field.name: getattr(found, field.name) for field in fields(Measured)})
    with np.load(path) as arrays:
        return Measured(**{field.name: arrays[field.name] for field in fields(Measured)})


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mask_quality", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", default=[default_folder() / name for name in SETS])
    parser.add_argument("--methods", nargs="+", default=["mosaic"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--refine", choices=list(REFINERS), default="none")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what was measured; a rerun goes on")
    parser.add_argument("--learn", action="store_true", help="learn the numbers of masks/quality.py anew")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="draw the filtering of each data set")
    args = parser.parse_args(argv)
    backbone = load_backbone(None, cache_dir=cache_dir())
    rows = []
    for name in args.methods:
        runs: Runs = {}
        for folder in args.data:
            data = load_folder(folder)
            runs[data.name] = [kept_or_run(name, data, backbone, seed, args) for seed in args.seeds]
            curves = {}
            for column, score in enumerate(SCORES):
                judged = [judge(one.scores[:, column], one.iou) for one in runs[data.name]]
                rows.append([name, *row(data.name, score, judged)])
                curves[score] = np.mean(judged, axis=0)[3:].tolist()
            if args.plot:
                args.plot.mkdir(parents=True, exist_ok=True)
                plot_filtering(KEPT, curves, args.plot / f"filtering-{data.name}-{name}.png")
        if args.learn:
            print(learning(runs))
    print(format_table(["method", *HEADER], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
