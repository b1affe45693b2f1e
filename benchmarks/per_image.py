"""AlignSeg's regions beside per-image k-means and a grid, all with the same number Q of regions.

    python -m benchmarks.per_image --data DATA... [--prototypes 5] [--seeds 0 1 2 3 4] [--json FILE]

Scores are those of the protocol alignseg_per_image: matched anew in every image, many to one, so that they
rise with the number of regions and say nothing about classes. Only rows with the same Q can be compared.
k-means gives soft scores in the same way as AlignSeg does (softmax of the cosines to its centres), and every
row is up-sampled in the same way.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.baselines import one_hot
from benchmarks.data import BenchmarkData, default_folder
from benchmarks.quality import Results, _markdown, load
from fiftyone_plugin.cli.label import parse_options
from fiftyone_plugin.clustering.kmeans import ReproducibleKMeans
from fiftyone_plugin.clustering.normalize import l2_normalize
from fiftyone_plugin.common.paths import cache_dir
from fiftyone_plugin.common.progress import ConsoleProgress, NullProgress, Progress
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.errors import PseudoMaskError
from fiftyone_plugin.evaluation import evaluate_pairs
from fiftyone_plugin.features.backbones import Backbone, load_backbone
from fiftyone_plugin.features.sampling import image_rng
from fiftyone_plugin.features.source import ImageFeatureSource, store_spec
from fiftyone_plugin.features.store import FeatureStore
from fiftyone_plugin.features.types import ImageFeatures
from fiftyone_plugin.masks.native import native_labels
from fiftyone_plugin.masks.scores import DeviceScores, LabelScores
from fiftyone_plugin.methods.alignseg.method import AlignSeg

SCORES = ("miou", "miou_without_first", "pixel_accuracy")
Predict = Callable[[ImageFeatures], LabelScores]


def grid_of(q: int) -> tuple[int, int]:
    """Return rows and columns, their product q, as near to each other as can be."""
    rows = max(r for r in range(1, int(q**0.5) + 1) if q % r == 0)
    return q // rows, rows


def grid(q: int) -> Predict:
    """q cells of equal size, rows first: horizontal bands where q is prime, which suits most photographs."""
    rows, columns = grid_of(q)

    def predict(image: ImageFeatures) -> LabelScores:
        h, w = image.grid
        cell = (np.arange(h)[:, None] * rows // h) * columns + np.arange(w)[None] * columns // w
        return one_hot(1 + cell.ravel(), image.grid)

    return predict


def kmeans(q: int, seed: int, tokens: Callable[[ImageFeatures], np.ndarray], temperature: float) -> Predict:
    """k-means in each image on its own."""

    def predict(image: ImageFeatures) -> LabelScores:
        own = int(image_rng(seed, image.digest).integers(2**31))
        x = l2_normalize(tokens(image))
        centers = ReproducibleKMeans(q, n_init=3, random_state=own).fit(x).cluster_centers_
        logits = (x @ l2_normalize(centers).T).T / temperature
        scores = np.exp(logits - logits.max(0))
        scores /= scores.sum(0)
        return LabelScores(np.arange(1, len(scores) + 1), scores.reshape(-1, *image.grid))

    return predict


def predictors(q: int, seed: int, fitted: AlignSeg) -> dict[str, Predict]:
    """Return the rows of the table."""
    temperature = fitted.config.score_temperature
    return {
        f"grid, {' x '.join(map(str, grid_of(q)))}": grid(q),
        "per-image k-means, final tokens": kmeans(q, seed, lambda image: image["out"], temperature),
        "per-image k-means, AlignSeg's tokens": kmeans(
            q, seed, lambda image: fitted.tokens(image), temperature
        ),
        "alignseg, regions": fitted.region_scores,
    }


def score(data: BenchmarkData, source: ImageFeatureSource, predict: Predict) -> dict[str, float]:
    """Return the scores of one row, without refinement."""
    truth = {item.key: item for item in data.items}

    def pairs() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for image in source:
            scores = DeviceScores.of(predict(image), "cpu")
            labels = native_labels(scores.scores, scores.labels, image.size)
            yield image.key, labels, data.truth(truth[image.key])

    result = evaluate_pairs(
        pairs(), data.classes, data.ignore, "alignseg_per_image", unlabelled=None, replicates=0
    )
    return {name: result.scores[name] for name in SCORES}


def measure(
    data: BenchmarkData, backbone: Backbone, args: argparse.Namespace, results: Results, progress: Progress
) -> None:
    """Fill in the scores of one data set that are not known yet."""
    scores = results.of(data.name, conditions(data, backbone, args))
    store = FeatureStore(cache_dir(), store_spec(backbone, args.size), limit_bytes=None)
    for seed in args.seeds:
        if scores and all(str(seed) in runs for runs in scores.values()):
            continue
        method = AlignSeg(
            n_prototypes=args.prototypes,
            output="regions",
            refine="none",
            random_state=seed,
            **dict(args.options),
        )
        layers = dict.fromkeys([*method.inputs, "out"])
        source = ImageFeatureSource(data.items, backbone, tuple(layers), size=args.size, store=store)
        method.fit_regions(source, progress=progress)
        for name, predict in predictors(args.prototypes, seed, method).items():
            if str(seed) not in scores.get(name, {}):
                headline = score(data, source, predict)
                scores.setdefault(name, {})[str(seed)] = {"headline": headline, "all": headline}
                print(f"{data.name} {name} seed {seed}: {headline}", file=sys.stderr, flush=True)
                results.save()


def conditions(data: BenchmarkData, backbone: Backbone, args: argparse.Namespace) -> str:
    """Say what a table shows."""
    ignored = f", ground-truth ids {', '.join(map(str, data.ignore))} ignored" if data.ignore else ""
    options = "".join(f", {name}={value}" for name, value in sorted(args.options.items()))
    return (
        f"{data.name}: {len(data.items)} images{ignored}; Q = {args.prototypes} regions an image{options}; "
        f"protocol alignseg_per_image, native size, no refinement; mean ± standard deviation over seeds, %; "
        f"backbone {backbone.name} ({backbone.loaded.origin} weights), {backbone.round_size(args.size)} px, "
        f"{backbone.precision}"
    )


def table(scores: dict[str, dict[str, dict[str, dict[str, float]]]], seeds: list[int]) -> list[list[str]]:
    """Return a row a method: mean and standard deviation of every score."""
    rows = []
    for name, runs in scores.items():
        values = np.array([[runs[str(seed)]["headline"][s] for s in SCORES] for seed in seeds]) * 100
        spread = values.std(0, ddof=1) if len(values) > 1 else np.zeros(len(SCORES))
        rows.append([name, *(f"{m:.1f} ± {d:.1f}" for m, d in zip(values.mean(0), spread, strict=True))])
    return rows


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.per_image", description=__doc__)
    parser.add_argument("--data", nargs="+", metavar="DATA", help="folders with images/ and masks/")
    parser.add_argument("--prototypes", type=int, default=5, help="Q, regions of an image")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--backbone")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--limit", type=int, help="first N images of every data set only")
    parser.add_argument("--set", dest="options", nargs="*", default=[], help="OPTION=VALUE of alignseg")
    parser.add_argument("--json", type=Path, help="keep scores here; a rerun adds what is missing")
    parser.add_argument("--markdown", type=Path, help="write the tables")
    parser.add_argument("-q", "--quiet", action="store_true")
    args = parser.parse_args(argv)
    args.options = parse_options(args.options)
    args.data = args.data or [str(default_folder() / name) for name in ("msrc_v2", "coco27")]
    results = Results(args.json)
    text = []
    try:
        backbone = load_backbone(args.backbone, cache_dir=cache_dir())
        for name in args.data:
            data = load(name, args.limit)
            measure(data, backbone, args, results, NullProgress() if args.quiet else ConsoleProgress())
            note = conditions(data, backbone, args)
            rows = table(results.of(data.name, note), args.seeds)
            header = ["regions", *(s.replace("_", " ") for s in SCORES)]
            seeds = " ".join(map(str, args.seeds))
            print(f"\n{note}; seeds {seeds}\n{format_table(header, rows)}\n", flush=True)
            text.append(_markdown(f"{note}; seeds {seeds}", header, rows))
            if args.markdown:
                args.markdown.write_text("\n".join(text))
    except PseudoMaskError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
