"""Refiners side by side: mIoU, pixel accuracy, boundary F and CPU time, on the same scores of Mosaic.

    python -m benchmarks.refinement [--data FOLDER...] [--refiners NAME...] [--seeds 0 1 2]

K is the number of classes of the data set. ``jbu`` and ``pamr`` are of :mod:`benchmarks.refiners`; a number
after a name is the side of its guide: ``crf-160``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.data import BenchmarkData, default_folder, load_folder
from benchmarks.refiners import JointBilateral, PixelAdaptive
from fiftyone_plugin.common.parallel import one_thread
from fiftyone_plugin.common.paths import cache_dir
from fiftyone_plugin.common.progress import NullProgress
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.evaluation import evaluate_pairs
from fiftyone_plugin.evaluation.geometry import BOUNDARY_TOLERANCE
from fiftyone_plugin.features.backbones import load_backbone
from fiftyone_plugin.features.source import ImageFeatureSource, store_spec
from fiftyone_plugin.features.store import FeatureStore
from fiftyone_plugin.images.reading import read_image, resize_image
from fiftyone_plugin.masks.native import native_labels
from fiftyone_plugin.masks.refine import REFINERS, Refiner, make_guide, refine_all
from fiftyone_plugin.masks.scores import DeviceScores
from fiftyone_plugin.methods.mosaic.method import Mosaic

SETS = ("ecssd", "coco27", "msrc_v2", "camvid", "cwfid")
SIZE = 448
CANDIDATES: dict[str, Callable[..., Refiner]] = {**REFINERS, "jbu": JointBilateral, "pamr": PixelAdaptive}

Scored = list[tuple[DeviceScores, tuple[int, int], np.ndarray, np.ndarray]]
"""scores, native size, (448, 448, 3) pixels of the network's input and ground truth of every image"""


def candidate(name: str) -> Refiner:
    """Return the refiner of a name, e.g. ``crf`` or ``crf-160``."""
    kind, _, side = name.partition("-")
    return CANDIDATES[kind](guide_side=int(side)) if side else CANDIDATES[kind]()


def score_images(data: BenchmarkData, seed: int) -> Scored:
    """Fit Mosaic to a data set and return its unrefined scores."""
    backbone = load_backbone(cache_dir=cache_dir(), precision="float32")
    method = Mosaic(n_classes=data.n_classes, random_state=seed)
    store = FeatureStore(cache_dir(), store_spec(backbone, SIZE), limit_bytes=None)
    source = ImageFeatureSource(data.items, backbone, method.inputs, size=SIZE, store=store)
    method.fit(source, progress=NullProgress())
    items = {item.key: item for item in data.items}
    return [
        (
            DeviceScores.of(method.predict(image), "cpu"),
            image.size,
            resize_image(read_image(items[image.key].path), SIZE, SIZE),
            data.truth(items[image.key]),
        )
        for image in source
    ]


def measure(data: BenchmarkData, scored: Scored, refiner: Refiner, seed: int) -> list[float]:
    """Return mIoU (of salient objects: of the foreground), pixel accuracy and boundary F, %, and CPU ms."""
    import torch

    seconds = []

    def pairs() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for i, (scores, size, pixels, truth) in enumerate(scored):
            start = time.process_time()
            with torch.inference_mode(), one_thread():
                side = refiner.guide_side
                guide = make_guide(torch.from_numpy(pixels[None]), side) if side else None
                (refined,) = refine_all(refiner, [scores], guide, [size])
            seconds.append(time.process_time() - start)
            yield str(i), native_labels(refined, scores.labels, size), truth

    found = evaluate_pairs(
        pairs(),
        data.classes,
        data.ignore,
        "iou-hungarian",
        boundary=BOUNDARY_TOLERANCE,
        replicates=0,
        seed=seed,
    )
    iou = found.per_class[1]["iou"] if data.foreground else found.scores["miou"]
    quality = (iou, found.scores["pixel_accuracy"], found.scores["boundary_f"])
    return [*(100 * value for value in quality), 1000 * float(np.mean(seconds))]


def main(argv: list[str] | None = None) -> int:
    """Measure and print a table a data set."""
    default = [default_folder() / name for name in SETS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refinement", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", default=default)
    parser.add_argument("--refiners", nargs="+", default=list(CANDIDATES), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th image only")
    args = parser.parse_args(argv)
    for folder in args.data:
        data = load_folder(folder)
        data = replace(data, items=data.items[:: args.every])
        rows: dict[str, list[list[float]]] = {name: [] for name in args.refiners}
        for seed in args.seeds:
            scored = score_images(data, seed)
            for name in args.refiners:
                rows[name].append(measure(data, scored, candidate(name), seed))
        labels = np.mean([len(scores.labels) for scores, *_ in scored])
        print(
            f"\n{data.name}: {len(scored)} images, Mosaic, K = {data.n_classes}, {labels:.1f} labels an "
            f"image, {SIZE} px, float32; means over seeds {' '.join(map(str, args.seeds))}"
        )
        header = [
            "refinement",
            "IoU" if data.foreground else "mIoU",
            "pixel accuracy",
            "boundary F",
            "CPU ms",
        ]
        table = [[name, *(f"{v:.1f}" for v in np.mean(each, axis=0))] for name, each in rows.items()]
        print(format_table(header, table), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
