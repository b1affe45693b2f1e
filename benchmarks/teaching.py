"""What labels and names buy: a simulated person hands over true masks, true majority names, or both.

    python -m benchmarks.teaching --data FOLDER... [--images 1 3 10] [--draws 5] [--clusters many]

Direct class ids, no matching; native size, every pixel, as the shipped pipeline predicts them; scored are the
images that were not handed over. Names are the true majority class of each cluster of the masks of all
images. Four columns: unsupervised (K = C, IoU-Hungarian), names only, labels only, both; and a plain linear
head on the same tokens, without refinement. With --suggest, images are suggested instead of drawn.

    python -m benchmarks.teaching --json FILE --draw PICTURE

draws the curves of earlier calls with --json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import BenchmarkData, default_folder, load_folder
from fiftyone_plugin.clustering.head import fit_soft_head, probabilities
from fiftyone_plugin.common.paths import cache_dir
from fiftyone_plugin.common.progress import NullProgress
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.evaluation import evaluate_pairs
from fiftyone_plugin.features.backbones import load_backbone
from fiftyone_plugin.features.source import ImageFeatureSource, store_spec
from fiftyone_plugin.features.store import FeatureStore
from fiftyone_plugin.masks.native import native_labels
from fiftyone_plugin.masks.refine import create_refiner
from fiftyone_plugin.methods.mosaic import Mosaic
from fiftyone_plugin.methods.taught import Taught
from fiftyone_plugin.runs.config import LabelConfig, with_number_of_classes
from fiftyone_plugin.runs.labels import read_labels
from fiftyone_plugin.runs.stages import teach
from fiftyone_plugin.runs.streaming import Replica, label_images
from fiftyone_plugin.runs.suggesting import choose_images

Masks = dict[str, np.ndarray]


class Person:
    """Somebody who knows the true masks of one data set, and a fitted Mosaic of all its images.

    Args:
        data: the data set.
        source: its features.
        clusters: K of the clusters that names are given to.
        seed: of the fit.
    """

    def __init__(self, data: BenchmarkData, source: ImageFeatureSource, clusters: int, seed: int) -> None:
        self.data, self.source = data, source
        self.truth = {item.key: data.truth(item) for item in data.items}
        self.mosaic = Mosaic(clusters, random_state=seed).fit(source)
        self.masks = self.label(self.mosaic)

    def label(self, method: Any, keys: Sequence[str] | None = None) -> Masks:
        """Return key -> native masks as the pipeline makes them."""
        source = self.source
        if keys is not None:
            wanted = set(keys)
            source = ImageFeatureSource(
                [item for item in source.items if item.key in wanted],
                source.backbone,
                method.inputs,
                size=source.size,
                store=source.store,
                memo_dir=source._memos.directory if source._memos else None,
            )
        found = label_images(source, [Replica(source.backbone, method)], create_refiner("crf"))
        return {image.key: labelled.mask() for image, labelled in found}

    def names(self) -> dict[int, int]:
        """Return cluster -> class that most of its pixels have."""
        table = np.zeros((1 + self.mosaic.n_classes_, 1 + max(self.data.classes)), np.int64)
        for key, mask in self.masks.items():
            truth = self.truth[key]
            known = np.isin(truth, list(self.data.classes))
            np.add.at(table, (mask[known], truth[known]), 1)
        return {k: int(table[k].argmax()) for k in range(1, len(table)) if table[k].any()}

    def taught(self, shown: Sequence[str], names: Mapping[int, int] | None) -> Taught:
        """Return the model that learnt from the masks of some images, and names if there are any."""
        method = Taught.of(self.mosaic)
        classes = dict(self.data.classes)
        if names:
            method.name_clusters(names, {k: classes[k] for k in set(names.values())})
        if shown:
            given = {key: self.truth[key] for key in shown}
            ignore = [*self.data.ignore, 255]
            ignore += [
                i
                for i in np.unique(np.concatenate([np.unique(m) for m in given.values()]))
                if i not in classes
            ]
            labels = read_labels(self.data.items, given, names=classes, ignore=[int(i) for i in ignore])
            teach(self.source, method, labels, NullProgress())
        return method

    def score(
        self, masks: Masks, leave_out: Sequence[str], protocol: str = "identity"
    ) -> tuple[float, float]:
        """Return mIoU and pixel accuracy over the other images."""
        pairs = ((key, mask, self.truth[key]) for key, mask in masks.items() if key not in set(leave_out))
        return _scores(self.data, pairs, protocol)

    def linear(self, shown: Sequence[str], keys: Sequence[str]) -> Masks:
        """Return what a plain linear head gives: standardised tokens, hard labels, nothing else."""
        layers = ("t-4", "t-3", "t-1")
        ids = sorted(self.data.classes)
        mean, spread, head = None, None, None
        from fiftyone_plugin.methods.taught.lesson import patch_shares

        tokens = {
            image.key: (np.concatenate([_unit(image[layer]) for layer in layers], 1), image)
            for image in self.source
            if image.key in set(shown) | set(keys)
        }
        x = np.concatenate([tokens[key][0] for key in shown])
        y = np.concatenate([patch_shares(self.truth[key], ids, tokens[key][1].grid) for key in shown])
        mean, spread = x.mean(0), x.std(0) + 1e-6
        sure = y.sum(1) > 0.5
        hard = np.eye(len(ids), dtype=np.float32)[y[sure].argmax(1)]
        head = fit_soft_head((x[sure] - mean) / spread, hard, 1.0, max_iter=100)
        found = {}
        for key in keys:
            values, image = tokens[key]
            scores = probabilities((values - mean) / spread, *head).T.reshape(1, len(ids), *image.grid)
            import torch

            logits = torch.from_numpy(np.log(scores[0] + 1e-9))
            found[key] = native_labels(logits.softmax(0), np.array(ids), image.size)
        return found


def _unit(tokens: np.ndarray) -> np.ndarray:
    tokens = tokens.astype(np.float32)
    return tokens / np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), 1e-9)


def _scores(
    data: BenchmarkData, pairs: Iterator[tuple[str, np.ndarray, np.ndarray]], protocol: str
) -> tuple[float, float]:
    unlabelled = None if protocol == "identity" else 0
    result = evaluate_pairs(pairs, data.classes, data.ignore, protocol, unlabelled=unlabelled, replicates=0)
    return 100 * result.scores["miou"], 100 * result.scores["pixel_accuracy"]


def run(data: BenchmarkData, args: argparse.Namespace) -> dict[str, Any]:
    """Return the curves of one data set."""
    backbone = load_backbone(None, cache_dir=cache_dir(), precision="float32")
    store = FeatureStore(cache_dir(), store_spec(backbone, args.size), limit_bytes=None)
    config = LabelConfig(classes=args.clusters)
    clusters = with_number_of_classes(config, len(data.items)).classes
    curves: dict[str, Any] = {"clusters": clusters, "points": []}
    with tempfile.TemporaryDirectory(prefix="pseudomask-teaching-") as work:
        source = ImageFeatureSource(
            data.items, backbone, Mosaic(2).inputs, size=args.size, store=store, memo_dir=Path(work)
        )
        plain = Mosaic(data.n_classes, random_state=0).fit(source)
        person = Person(data, source, int(clusters), 0)
        curves["unsupervised"] = person.score(person.label(plain), (), "iou-hungarian")
        names = person.names()
        named = {key: _table(names)[mask] for key, mask in person.masks.items()}
        curves["names"] = person.score(named, ())
        cells = _cell(curves["unsupervised"]), _cell(curves["names"])
        say(f"{data.name}: unsupervised {cells[0]}, {clusters} named {cells[1]}")
        keys = [item.key for item in data.items]
        suggested = choose_images(person.mosaic, source, max(args.images), seed=0) if args.suggest else []
        for count in args.images:
            for draw in range(1 if args.suggest else args.draws):
                random = np.random.default_rng([draw, count]).permutation(len(keys))[:count]
                shown = suggested[:count] if args.suggest else sorted(keys[i] for i in random)
                rest = [key for key in keys if key not in set(shown)]
                start = time.process_time()
                only = person.taught(shown, None)
                seconds = time.process_time() - start
                point = {"images": count, "draw": draw, "suggested": args.suggest, "seconds": seconds}
                point["names"] = person.score(named, shown)
                point["labels"] = person.score(person.label(only, rest), shown)
                point["both"] = person.score(person.label(person.taught(shown, names), rest), shown)
                if args.linear:
                    point["linear"] = person.score(person.linear(shown, rest), shown)
                curves["points"].append(point)
                shown_cells = {
                    name: _cell(point[name])
                    for name in ("linear", "names", "labels", "both")
                    if name in point
                }
                say(f"{data.name} {count} draw {draw}: {shown_cells} teach {seconds:.1f} s of CPU")
    return curves


def _table(names: Mapping[int, int]) -> np.ndarray:
    table = np.zeros(1 + max(names), np.uint16)
    for cluster, class_ in names.items():
        table[cluster] = class_
    return table


def _cell(pair: Sequence[float]) -> str:
    return f"{pair[0]:.1f} / {pair[1]:.0f}"


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.teaching", description=__doc__)
    parser.add_argument("--data", nargs="+", default=[str(default_folder() / "camvid")])
    parser.add_argument("--images", nargs="+", type=int, default=[1, 3, 10])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--clusters", default="many")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--suggest", action="store_true")
    parser.add_argument("--linear", action="store_true", help="a plain linear head too")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--draw", type=Path, help="only draw the curves of --json as a picture")
    args = parser.parse_args(argv)
    if args.draw:
        draw(json.loads(args.json.read_text()), args.draw)
        return 0
    args.clusters = args.clusters if args.clusters == "many" else int(args.clusters)
    document = json.loads(args.json.read_text()) if args.json and args.json.is_file() else {}
    rows = []
    for folder in args.data:
        data = load_folder(Path(folder))
        curves = run(data, args)
        document[f"{data.name}{' suggested' if args.suggest else ''}"] = curves
        if args.json:
            args.json.write_text(json.dumps(document, indent=1) + "\n")
        for count in args.images:
            points = [point for point in curves["points"] if point["images"] == count]
            cells = [_mean(points, name) for name in ("linear", "names", "labels", "both")]
            rows.append([data.name, str(count), _cell(curves["unsupervised"]), *cells])
    say(format_table(["data", "labelled", "unsupervised", "linear", "names", "labels", "both"], rows))
    return 0


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Draw mIoU over the number of labelled images, a set beside the other; bars from worst to best draw."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sets = {name: curves for name, curves in document.items() if not name.endswith(" suggested")}
    figure = Figure(figsize=(3.3 * len(sets), 3.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, curves) in zip(
        figure.subplots(1, len(sets), squeeze=False)[0], sets.items(), strict=True
    ):
        counts = sorted({point["images"] for point in curves["points"]})
        labels = [str(count) for count in counts]
        axes.axhline(curves["unsupervised"][0], color="0.5", linestyle=":", label="unsupervised")
        for curve, colour in (("names", "tab:blue"), ("labels", "tab:orange"), ("both", "tab:green")):
            found = [[p[curve][0] for p in curves["points"] if p["images"] == count] for count in counts]
            mean = [float(np.mean(values)) for values in found]
            ends = [[m - min(v) for m, v in zip(mean, found, strict=True)]]
            ends.append([max(v) - m for m, v in zip(mean, found, strict=True)])
            style = {"color": colour, "marker": "o", "markersize": 4, "capsize": 3}
            axes.errorbar(
                labels, mean, yerr=ends, label=f"{curve} only" if curve != "both" else curve, **style
            )
        others = [p for p in document.get(f"{name} suggested", {}).get("points", []) if p["images"] in counts]
        for number, point in enumerate(others):
            place, label = str(point["images"]), "labels, suggested" if not number else None
            axes.plot([place], [point["labels"][0]], "*", color="tab:orange", markersize=11, label=label)
        axes.set(title=f"{name}, {curves['clusters']} clusters", xlabel="images labelled", ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=7)
    figure.axes[0].set_ylabel("mIoU, %")
    figure.savefig(path, metadata={"Software": None})


def _mean(points: Sequence[Mapping[str, Any]], name: str) -> str:
    values = [point[name] for point in points if name in point]
    return _cell(np.mean(values, 0).tolist()) if values else "-"


if __name__ == "__main__":
    sys.exit(main())
