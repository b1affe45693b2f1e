"""k-means implementations on real patches: seconds, inertia, agreement.

    python -m benchmarks.kmeans --data DIR [--clusters 3 27] [--sample 131072]

faiss is not a dependency; its rows appear where it is installed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.metrics import adjusted_rand_score

from benchmarks.data import default_folder
from fiftyone_plugin.clustering.kmeans import ReproducibleKMeans, squared_distances
from fiftyone_plugin.clustering.normalize import l2_normalize
from fiftyone_plugin.common.paths import cache_dir
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.features.backbones import load_backbone
from fiftyone_plugin.features.sampling import sample_patches
from fiftyone_plugin.features.source import ImageFeatureSource, store_spec
from fiftyone_plugin.features.store import FeatureStore
from fiftyone_plugin.images.listing import list_images


def candidates() -> dict[str, Callable[[np.ndarray, int, int], np.ndarray]]:
    """Return name -> function (x, k, seed) -> centres; three restarts each."""
    found: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
        "scikit-learn, Lloyd": lambda x, k, s: (
            ReproducibleKMeans(k, n_init=3, random_state=s).fit(x).cluster_centers_
        ),
        "scikit-learn, mini-batches of 4096": lambda x, k, s: (
            ReproducibleKMeans(k, n_init=3, batch_size=4096, random_state=s).fit(x).cluster_centers_
        ),
    }
    try:
        import faiss
    except ImportError:
        return found

    def with_faiss(x: np.ndarray, k: int, seed: int) -> np.ndarray:
        kmeans = faiss.Kmeans(x.shape[1], k, niter=25, nredo=3, seed=seed, max_points_per_centroid=len(x))
        kmeans.train(x)
        return kmeans.centroids

    found["faiss"] = with_faiss
    return found


def main(argv: list[str] | None = None) -> int:
    """Measure and print a table."""
    default = default_folder() / "coco27"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kmeans", description=__doc__)
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--clusters", nargs="+", type=int, default=[3, 27])
    parser.add_argument("--sample", type=int, default=131_072)
    parser.add_argument("--layer", default="k-1")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args(argv)
    backbone = load_backbone(cache_dir=cache_dir())
    items = list_images(args.data / "images")
    store = FeatureStore(cache_dir(), store_spec(backbone, 448), limit_bytes=None)
    source = ImageFeatureSource(items, backbone, (args.layer, "cls"), store=store)
    sample = sample_patches(source, len(items), lambda image: image[args.layer], budget=args.sample)
    x = l2_normalize(sample.vectors)
    rows = []
    for k in args.clusters:
        labels: dict[str, list[np.ndarray]] = {}
        for name, fit in candidates().items():
            seconds, inertia = [], []
            for seed in range(args.seeds):
                start = time.perf_counter()
                centers = fit(x, k, seed)
                seconds.append(time.perf_counter() - start)
                distances = squared_distances(x, centers)
                inertia.append(float(distances.min(1).sum()))
                labels.setdefault(name, []).append(distances.argmin(1))
            first = next(iter(labels.values()))
            agreement = np.mean([adjusted_rand_score(a, b) for a, b in zip(first, labels[name], strict=True)])
            rows.append(
                [
                    str(k),
                    name,
                    f"{np.median(seconds):.2f}",
                    f"{np.mean(inertia) / len(x):.4f}",
                    f"{agreement:.3f}",
                ]
            )
    print(f"{len(x)} patches of {args.data.name}, {x.shape[1]} dimensions, {args.seeds} seeds, 3 restarts")
    print(format_table(["K", "implementation", "seconds", "inertia a patch", "ARI with the first"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
