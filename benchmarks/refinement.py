"""Foreground IoU and cost of the dense CRF by working resolution, on salient-object data.

python -m benchmarks.refinement --data ../shared/data/ecssd [--sides 160 240 320 480]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.data import default_folder, load_folder
from fiftyone_plugin.common.parallel import parallel_map
from fiftyone_plugin.common.paths import cache_dir
from fiftyone_plugin.common.progress import NullProgress
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.features.backbones import load_backbone
from fiftyone_plugin.features.source import ImageFeatureSource, store_spec
from fiftyone_plugin.features.store import FeatureStore
from fiftyone_plugin.images.reading import read_image
from fiftyone_plugin.masks.refine import DenseCRF, Upsample, resize_scores
from fiftyone_plugin.methods.lightcluster.method import LightCluster


def refine_one(scores: np.ndarray, path: str, truth: np.ndarray, side: int | None) -> tuple[int, int, float]:
    """Return intersection, union, and seconds of the refinement alone, for one image."""
    image = read_image(path)
    refiner = Upsample(max(image.shape)) if side == 0 else DenseCRF(max_side=side)
    start = time.perf_counter()
    refined = refiner(scores, image)
    seconds = time.perf_counter() - start
    mask = resize_scores(refined, *truth.shape).argmax(0) == 1
    true = truth > 0
    return int((mask & true).sum()), int((mask | true).sum()), seconds


def main(argv: list[str] | None = None) -> int:
    """Measure and print a table."""
    default = default_folder() / "ecssd"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refinement", description=__doc__)
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--sides", nargs="+", type=int, default=[160, 240, 320, 480])
    args = parser.parse_args(argv)
    data = load_folder(args.data)
    backbone = load_backbone(cache_dir=cache_dir())
    store = FeatureStore(cache_dir(), store_spec(backbone, 448), limit_bytes=None)
    method = LightCluster(refine="none")
    source = ImageFeatureSource(data.items, backbone, method.inputs, store=store)
    source.extract(NullProgress())
    votes = method.fit_foreground(source, progress=NullProgress()).vote
    inputs = [
        (votes(image), item.path, data.truth(item)) for image, item in zip(source, data.items, strict=True)
    ]
    rows = []
    for side in (0, *args.sides, None):
        done = parallel_map(refine_one, [(*entry, side) for entry in inputs], n_jobs=0)
        intersection, union, seconds = (np.array(column) for column in zip(*done, strict=True))
        name = {0: "no CRF", None: "native"}.get(side, f"{side} px")
        rows.append(
            [name, f"{100 * intersection.sum() / union.sum():.1f}", f"{1000 * np.median(seconds):.0f}"]
        )
    print(f"{data.name}: {len(inputs)} images, vote of LightCluster, 2 labels, seed 0")
    print(format_table(["longer side", "foreground IoU %", "CRF ms an image, one core"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
