"""Quality of methods and baselines against ground truth, mean and standard deviation over seeds.

    python -m benchmarks.quality --data DATA... [--methods NAME...] [--seeds 0 1 2 3 4] [--json FILE]

DATA is a folder with images/ and masks/, or the name of a published benchmark: voc-2012-val, coco-2017-val.
For a user who has the data and a network, with the published scores to beat below the table:

    python -m benchmarks.quality --data coco-stuff-27 voc-2012-val --methods mosaic --protocol count-hungarian

K is the number of classes C of the data set. A method with a background (label 0) gets C - 1 classes and its
background counts as one cluster, so that every pixel is predicted by one of C clusters. Salient-object data
is scored as foreground IoU: for a method with a background directly, for others with K = 2 (times the
--k-factor) and the matching.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.anchors import ANCHORS, anchors_for, beside
from benchmarks.baselines import BASELINES
from benchmarks.data import BenchmarkData, default_folder, load_folder
from benchmarks.zoo import ZOO, load_zoo, require_genuine_weights
from fiftyone_plugin.common.paths import cache_dir
from fiftyone_plugin.common.progress import ConsoleProgress, NullProgress, Progress
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.errors import PseudoMaskError
from fiftyone_plugin.evaluation import EvaluationResult, evaluate_pairs
from fiftyone_plugin.features.backbones import Backbone, load_backbone
from fiftyone_plugin.features.source import ImageFeatureSource, store_spec
from fiftyone_plugin.features.store import FeatureStore
from fiftyone_plugin.features.tiles import open_source
from fiftyone_plugin.masks.refine import DEFAULT_REFINER, REFINERS, create_refiner
from fiftyone_plugin.methods.base import Method
from fiftyone_plugin.methods.registry import create_method, list_methods
from fiftyone_plugin.runs.streaming import Replica, label_images

Scores = dict[str, dict[str, dict[str, dict[str, float]]]]
"""method -> seed -> ``headline`` and ``all`` -> score -> value"""

SCORES = ("miou", "pixel_accuracy", "ari")


def load(name: str, limit: int | None = None) -> BenchmarkData:
    """Return a published benchmark by its name, or the data of a folder."""
    return load_zoo(name, limit) if name in ZOO else load_folder(Path(name), limit)


def build(name: str, k: int, seed: int, refine: str, options: dict[str, Any]) -> Any:
    """Return an unfitted method or baseline of K clusters in all."""
    if name.endswith("-published"):
        from benchmarks.published import register_all

        register_all()
    if name in BASELINES:
        return BASELINES[name](k, random_state=seed)
    return create_method(
        name, n_classes=max(1, k - has_background(name)), random_state=seed, refine=refine, **options
    )


def has_background(name: str) -> bool:
    """Tell whether a method's label 0 is a background that it finds."""
    return name not in BASELINES and create_method(name).has_background


def predictions(method: Method, source: ImageFeatureSource, refine: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (key, native (H, W) labels) of every readable image."""
    replicas = [Replica(source.backbone, method)]
    for image, labelled in label_images(source, replicas, create_refiner(refine)):
        yield image.key, labelled.mask()


def evaluate_method(
    name: str,
    data: BenchmarkData,
    backbone: Backbone,
    seed: int,
    args: argparse.Namespace,
    progress: Progress,
    store: FeatureStore,
    work: Path,
) -> EvaluationResult:
    """Fit a method on a data set's images and score it against the ground truth."""
    background = has_background(name)
    k = round(args.k_factor * data.n_classes)
    if data.foreground and background:
        k = args.foreground_classes + 1
    method = build(name, k, seed, args.refine, dict(args.options))
    source = open_source(
        data.items,
        backbone,
        method.inputs,
        size=args.size,
        tiles=tiles_of(args),
        store=store,
        memo_dir=work / "memo",
    )
    method.fit(source, progress=progress)
    refine = "none" if name in BASELINES else args.refine
    truth = {item.key: item for item in data.items}
    pairs = ((key, mask, data.truth(truth[key])) for key, mask in predictions(method, source, refine))
    protocol = "foreground" if data.foreground and background else args.protocol
    # label 0 is a cluster of its own where the method has a background, void where it has none (and a cluster
    # like any other of baselines)
    void = data.foreground if background else name not in BASELINES
    unlabelled = 0 if void else None
    return evaluate_pairs(
        pairs, data.classes, data.ignore, protocol, unlabelled=unlabelled, replicates=0, seed=seed
    )


def tiles_of(args: argparse.Namespace) -> int:
    """Return in how many tiles a side the methods see images besides."""
    return int(dict(args.options).get("tiles", 1))


def extract(
    data: BenchmarkData, backbone: Backbone, args: argparse.Namespace, progress: Progress
) -> FeatureStore:
    """Bring all layers that any of the methods reads into one store, in one pass over the images."""
    store = FeatureStore(cache_dir(), store_spec(backbone, args.size), limit_bytes=None)
    layers = {layer for name in args.methods for layer in build(name, 2, 0, "none", {}).inputs}
    source = open_source(
        data.items, backbone, sorted(layers), size=args.size, tiles=tiles_of(args), store=store
    )
    with progress.stage("features", total=len(source)) as stage:
        for batch in source.batches():
            stage.update(len(batch))
    return store


def headline(data: BenchmarkData, result: EvaluationResult) -> dict[str, float]:
    """Return the scores of one run that the table shows."""
    if not data.foreground:
        return {score: result.scores[score] for score in SCORES}
    foreground = next(row for row in result.per_class if row["id"] == 1)
    return {"foreground_iou": foreground["iou"], "pixel_accuracy": result.scores["pixel_accuracy"]}


def table(data: BenchmarkData, runs: dict[str, list[dict[str, float]]]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: mean and standard deviation over seeds, in percent."""
    columns = list(next(iter(runs.values()))[0])
    rows = []
    for name, scores in runs.items():
        cells = []
        for column in columns:
            values = np.array([s[column] for s in scores]) * 100
            spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.1f}{spread}")
        rows.append([name, *cells])
    return ["method", *[c.replace("_", " ") for c in columns]], rows


def caption(data: BenchmarkData, backbone: Backbone, args: argparse.Namespace) -> str:
    """Say what a table shows: data, protocol, K, seeds, backbone, weights."""
    ignored = f", ground-truth ids {', '.join(map(str, data.ignore))} ignored" if data.ignore else ""
    weights = backbone.loaded
    k = round(args.k_factor * data.n_classes)
    what = (
        f"foreground IoU, pooled (methods with a background directly; others K = {k}, Hungarian on IoU)"
        if data.foreground
        else f"C = {data.n_classes}, K = {k}, protocol {args.protocol}"
    )
    return (
        f"{data.name}: {len(data.items)} images{ignored}; {what}; native size, every pixel predicted; "
        f"mean ± standard deviation over seeds, %; backbone {backbone.name} "
        f"({weights.origin} weights, sha256 {weights.state_sha256[:12]}), "
        f"{backbone.round_size(args.size)} px, {backbone.precision}; "
        f"refinement of methods: {args.refine}, of baselines: none{'; ' if data.note else ''}{data.note}"
    )


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    default = default_folder()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="DATA",
        help="folders with images/ and masks/, or published benchmarks, downloaded on first use into "
        "FiftyOne's zoo folder: coco-2017-val by FiftyOne's zoo, voc-2012-val by torchvision, as the zoo "
        "drops its segmentation masks; they need weights from the hub or a file, unless --backbone is given",
    )
    parser.add_argument("--methods", nargs="+", default=[*BASELINES, *list_methods()])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--k-factor", type=float, default=1.0, help="K as a multiple of the number of classes"
    )
    parser.add_argument(
        "--foreground-classes", type=int, default=20, help="K of methods on salient-object data"
    )
    parser.add_argument("--protocol", default="iou-hungarian")
    parser.add_argument(
        "--against",
        choices=list(ANCHORS),
        help="print what was published on this data set under --protocol, too; without it, where the folder "
        "has such a name",
    )
    parser.add_argument("--backbone")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--precision", default="float32", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--refine", choices=list(REFINERS), default=DEFAULT_REFINER)
    parser.add_argument("--limit", type=int, help="first N images of every data set only")
    parser.add_argument("--set", dest="options", nargs="*", default=[], help="OPTION=VALUE of the methods")
    parser.add_argument("--json", type=Path, help="keep scores here; a rerun adds what is missing")
    parser.add_argument("--markdown", type=Path, help="write the tables")
    parser.add_argument("-q", "--quiet", action="store_true")
    args = parser.parse_args(argv)
    from fiftyone_plugin.cli.label import parse_options

    args.options = parse_options(args.options)
    if not args.data:
        args.data = [
            str(p) for p in sorted(default.glob("*")) if (p / "images").is_dir() and (p / "masks").is_dir()
        ]
    if not args.data:
        parser.error(f"no data: pass --data, or set PSEUDOMASK_DATA (looked in {default})")
    return args


class Results:
    """Scores by data set, method and seed, kept in a JSON file as they come, so that a run can go on.

    A stored score counts only under the same conditions: data, protocol, K, backbone, weights, size,
    refinement and options, as the ``conditions`` of its data set say.

    Args:
        path: the file, ``None`` to keep nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.document: dict[str, Any] = {}
        if path is not None and path.is_file():
            self.document = json.loads(path.read_text())

    def of(self, data: str, conditions: str) -> Scores:
        """Return method -> seed -> scores of a data set; empty if they were measured otherwise."""
        entry = self.document.get(data)
        if entry is None or entry["conditions"] != conditions:
            entry = self.document[data] = {"conditions": conditions, "methods": {}}
        return entry["methods"]

    def save(self) -> None:
        """Write the file, whole or not at all."""
        if self.path is not None:
            partial = self.path.with_name(self.path.name + ".partial")
            partial.write_text(json.dumps(self.document, indent=1) + "\n")
            partial.replace(self.path)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark and print its tables."""
    args = parse_arguments(argv)
    progress: Progress = NullProgress() if args.quiet else ConsoleProgress()
    results = Results(args.json)
    text = []
    try:
        backbone = load_backbone(args.backbone, cache_dir=cache_dir(), precision=args.precision)
        if any(name in ZOO for name in args.data):
            require_genuine_weights(backbone, named=args.backbone is not None)
        for name in args.data:
            data = load(name, args.limit)
            note = caption(data, backbone, args)
            scores = results.of(data.name, note + f"; options {json.dumps(args.options, sort_keys=True)}")
            run_methods(data, backbone, args, progress, scores, results.save)
            seeds = [str(seed) for seed in args.seeds]
            header, rows = table(
                data, {m: [scores[m][seed]["headline"] for seed in seeds] for m in args.methods}
            )
            print(f"\n{note}; seeds {' '.join(seeds)}\n{format_table(header, rows)}\n", flush=True)
            text.append(_markdown(f"{note}; seeds {' '.join(seeds)}", header, rows))
            if published := beside(anchors_for(data.name, args.against, args.protocol)):
                print(published, flush=True)
            if args.markdown:
                args.markdown.write_text("\n".join(text))
    except PseudoMaskError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


def run_methods(
    data: BenchmarkData,
    backbone: Backbone,
    args: argparse.Namespace,
    progress: Progress,
    scores: Scores,
    save: Callable[[], None],
) -> None:
    """Fill in the scores that are not known yet, one method and seed after the other."""
    missing = [(m, s) for m in args.methods for s in args.seeds if str(s) not in scores.get(m, {})]
    if not missing:
        return
    store = extract(data, backbone, args, progress)
    # one folder for all: what does not depend on the seed is computed once
    with tempfile.TemporaryDirectory(prefix="pseudomask-bench-") as work:
        for name, seed in missing:
            result = evaluate_method(name, data, backbone, seed, args, progress, store, Path(work))
            entry = {"headline": headline(data, result), "all": result.scores}
            scores.setdefault(name, {})[str(seed)] = entry
            print(f"{data.name} {name} seed {seed}: {entry['headline']}", file=sys.stderr, flush=True)
            save()


def _markdown(note: str, header: list[str], rows: list[list[str]]) -> str:
    lines = [note + ".", "", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join([*lines, *["| " + " | ".join(row) + " |" for row in rows], ""])


if __name__ == "__main__":
    sys.exit(main())
