"""Time and memory of clustering many region descriptors into classes, as the default method does.

    python -m benchmarks.regions --data DIR [--counts 10000 100000 1000000] [--classes 27]

Descriptors are those of real images, resampled: every further row is a mixture of two regions of the data,
so that no two rows are equal. Each count runs in a new process; memory is its peak, descriptors included.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.data import default_folder, load_folder
from fiftyone_plugin.common.paths import cache_dir
from fiftyone_plugin.common.progress import NullProgress
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.features.backbones import load_backbone
from fiftyone_plugin.features.source import ImageFeatureSource, store_spec
from fiftyone_plugin.features.store import FeatureStore
from fiftyone_plugin.methods.mosaic.graph import cluster_regions, foreground_weight
from fiftyone_plugin.methods.mosaic.method import Mosaic

CHUNK = 4096


def describe(folder: Path, path: Path) -> int:
    """Write the regions of the images in a data folder to ``path``; return their number."""
    data = load_folder(folder)
    backbone = load_backbone(None, cache_dir=cache_dir())
    method = Mosaic(data.n_classes)
    store = FeatureStore(cache_dir(), store_spec(backbone, 448), limit_bytes=None)
    source = ImageFeatureSource(data.items, backbone, method.inputs, size=448, store=store)
    regions = method.fit_features(source, NullProgress()).collect_regions(source, NullProgress())
    np.savez(path, descriptors=regions.descriptors, foreground=regions.foreground)
    return len(regions.descriptors)


def resample(descriptors: np.ndarray, count: int) -> np.ndarray:
    """Return (count, D) float16 rows: mixtures of two regions, the first by far the larger."""
    rng = np.random.default_rng(0)
    rows = np.empty((count, descriptors.shape[1]), np.float16)
    for start in range(0, count, CHUNK):
        n = min(CHUNK, count - start)
        first, second = rng.integers(len(descriptors), size=(2, n))
        share = rng.uniform(0, 0.3, size=(n, 1)).astype(np.float32)
        rows[start : start + n] = (1 - share) * descriptors[first] + share * descriptors[second]
    return rows


def fit(path: Path, count: int, classes: int) -> str:
    """Cluster ``count`` descriptors made from those in ``path``; return seconds and peak memory in MiB."""
    saved = np.load(path)
    descriptors = resample(saved["descriptors"].astype(np.float32), count)
    foreground = np.resize(saved["foreground"], count)
    config = Mosaic(classes).config
    start = time.perf_counter()
    cluster_regions(
        descriptors,
        foreground,
        classes,
        whiten=config.graph_whiten,
        foreground_weight=foreground_weight(classes),
        neighbours=config.neighbours * (len(config.cuts) + 1),
        max_landmarks=config.max_landmarks,
    )
    seconds = time.perf_counter() - start
    return f"{seconds:.1f} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}"


def main(argv: list[str] | None = None) -> int:
    """Print a row for every count."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regions", description=__doc__)
    parser.add_argument("--data", type=Path, default=default_folder() / "coco27", help="folder with images/")
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--classes", type=int, default=27)
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)  # what the processes are started with
    args = parser.parse_args(argv)
    if args.fit:
        print(fit(args.fit, args.counts[0], args.classes))
        return 0
    rows = []
    with tempfile.TemporaryDirectory(prefix="pseudomask-regions-") as folder:
        path = Path(folder) / "regions.npz"
        print(f"{describe(args.data, path)} regions of {args.data.name}, resampled")
        for count in args.counts:
            command = [sys.executable, "-m", "benchmarks.regions", "--fit", str(path)]
            command += ["--counts", str(count), "--classes", str(args.classes)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows.append([f"{count:,}", *done.stdout.split()])
    print(format_table(["regions", "seconds", "peak MiB"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
