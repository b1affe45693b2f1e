"""Time and memory of clustering many region descriptors into classes, as the default method does.

    python -m benchmarks.regions --data DIR [--counts 10000 100000 1000000] [--classes 27]

Descriptors are those of real images, resampled: every further row is a mixture of two regions of the data,
so that no two rows are equal. Each count runs in a new process; memory is its peak, descriptors included.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np

from benchmarks.data import load_folder
from fiftyone_plugin.backbones import load_backbone
from fiftyone_plugin.features.source import ImageFeatureSource, store_spec
from fiftyone_plugin.features.store import FeatureStore
from fiftyone_plugin.methods.mosaic import Mosaic
from fiftyone_plugin.methods.mosaic_graph import cluster_regions
from fiftyone_plugin.methods.mosaic_regions import RegionTable
from fiftyone_plugin.paths import cache_dir
from fiftyone_plugin.progress import NullProgress

CHUNK = 4096


def describe(folder: Path) -> RegionTable:
    """Return the regions of the images in a data folder."""
    data = load_folder(folder)
    backbone = load_backbone(None, cache_dir=cache_dir())
    method = Mosaic(data.n_classes)
    store = FeatureStore(cache_dir(), store_spec(backbone, 448), limit_bytes=None)
    source = ImageFeatureSource(data.items, backbone, method.layers, size=448, store=store)
    regions = method.collect_regions(source, NullProgress())
    store.close()
    return regions


def resample(descriptors: np.ndarray, count: int) -> list[np.ndarray]:
    """Return ``count`` (D,) float16 rows in chunks: mixtures of two regions, the first by far the larger."""
    rng = np.random.default_rng(0)
    chunks = []
    for start in range(0, count, CHUNK):
        n = min(CHUNK, count - start)
        first, second = rng.integers(len(descriptors), size=(2, n))
        share = rng.uniform(0, 0.3, size=(n, 1)).astype(np.float32)
        chunks.append(((1 - share) * descriptors[first] + share * descriptors[second]).astype(np.float16))
    return chunks


def fit(path: Path, count: int, classes: int) -> None:
    """Cluster ``count`` descriptors made from those in ``path``; print seconds and peak memory in MB."""
    saved = np.load(path)
    descriptors = resample(saved["descriptors"].astype(np.float32), count)
    foreground = np.resize(saved["foreground"], count)
    start = time.perf_counter()
    cluster_regions(descriptors, foreground, classes, whiten=96, foreground_weight=0.5, neighbours=150)
    print(
        f"{time.perf_counter() - start:.1f} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}"
    )
