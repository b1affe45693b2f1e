"""Time of the segments of one image on one core: graph, communities, connected parts, noise.

    python -m benchmarks.segments --data DIR [--methods default published] [--set OPTION=VALUE ...]

Features come from the feature store, so that nothing but the segments is timed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.data import default_folder
from benchmarks.published import PublishedDatUS
from fiftyone_plugin.cli.label import parse_options
from fiftyone_plugin.common.paths import cache_dir
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.features.backbones import load_backbone
from fiftyone_plugin.features.source import ImageFeatureSource, store_spec
from fiftyone_plugin.features.store import FeatureStore
from fiftyone_plugin.images.listing import list_images
from fiftyone_plugin.methods.datus.method import DatUS
from fiftyone_plugin.methods.datus.segments import find_segments

METHODS = {"default": DatUS, "published": PublishedDatUS}


def main(argv: list[str] | None = None) -> int:
    """Print CPU milliseconds and segments an image, as they are by default and as published."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.segments", description=__doc__)
    parser.add_argument("--data", type=Path, default=default_folder() / "coco27", help="folder with images/")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--set", dest="options", nargs="*", default=[], help="OPTION=VALUE of the method")
    parser.add_argument("--backbone")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--limit", type=int, default=100, help="first N images")
    args = parser.parse_args(argv)
    backbone = load_backbone(args.backbone, cache_dir=cache_dir())
    items = list_images(args.data / "images")[: args.limit]
    rows = []
    for name in args.methods:
        config = METHODS[name](**parse_options(args.options)).config
        store = FeatureStore(cache_dir(), store_spec(backbone, args.size), limit_bytes=None)
        seconds, counts, fallbacks = [], [], 0
        for image in ImageFeatureSource(items, backbone, [config.layer], size=args.size, store=store):
            features = np.array(image[config.layer])
            if not seconds:
                find_segments(features, image.grid, config)  # warm up
            start = time.process_time()
            found = find_segments(features, image.grid, config)
            seconds.append(time.process_time() - start)
            counts.append(int(found.labels.max()) + 1)
            fallbacks += bool(found.fallback)
        time_of = np.percentile(seconds, [50, 90]) * 1000
        crops = np.mean(counts) if config.descriptor == "cls" else 0.0
        cells = (*(f"{t:.0f}" for t in time_of), f"{np.mean(counts):.1f}", f"{crops:.1f}", str(fallbacks))
        rows.append([name, *cells])
    print(f"{len(items)} images of {args.data.name}, {image.grid[0] * image.grid[1]} patches each")
    header = ["method", "CPU ms, median", "90 %", "segments an image", "crops an image", "graphs replaced"]
    print(format_table(header, rows), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
