"""Speed of a whole ``label`` run against the bare forward pass of the backbone, in one go on one machine.

    python -m benchmarks.speed --data DIR [--size 448] [--runs 3]

The bare pass runs the same decoded batches through the backbone in the same precision and does nothing else.
``label`` is timed from outside, as a new process with an empty cache: start, imports, decoding, features,
fitting, refinement, writing. The rows below it are its own stage timings.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.data import default_folder
from fiftyone_plugin.common.parallel import batched
from fiftyone_plugin.common.paths import CACHE_ENV, cache_dir
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.features.backbones import load_backbone
from fiftyone_plugin.images.listing import list_images
from fiftyone_plugin.images.reading import read_image, resize_image
from fiftyone_plugin.masks.refine import REFINERS
from fiftyone_plugin.methods.registry import list_methods


def bare_forward(
    images: Path, backbone_name: str | None, size: int, batch_size: int
) -> tuple[float, float, int]:
    """Return wall and CPU seconds of the forward pass alone, and the number of images; after a warm-up."""
    import torch

    backbone = load_backbone(backbone_name, cache_dir=cache_dir())
    side = backbone.round_size(size)
    seconds, cpu, count = 0.0, 0.0, 0
    for batch in batched(list_images(images), batch_size):
        x = backbone.normalise(np.stack([resize_image(read_image(item.path), side, side) for item in batch]))
        with (
            torch.inference_mode(),
            torch.autocast(
                backbone.device.split(":")[0], dtype=torch.bfloat16, enabled=backbone.precision == "bfloat16"
            ),
        ):
            if count == 0:
                backbone.model.forward_features(x)
            start, cpu_start = time.perf_counter(), time.process_time()
            backbone.model.forward_features(x)
            if backbone.device.startswith("cuda"):
                torch.cuda.synchronize()
            seconds += time.perf_counter() - start
            cpu += time.process_time() - cpu_start
        count += len(batch)
    return seconds, cpu, count


def whole_label(
    images: Path, method: str, refine: str, args: argparse.Namespace
) -> tuple[float, float, dict[str, float]]:
    """Return wall and CPU seconds of one ``label`` with an empty feature cache, and its stage timings.

    CPU seconds are those of the process and of its workers.
    """
    with tempfile.TemporaryDirectory(prefix="pseudomask-speed-") as folder:
        cache = Path(folder) / "cache"
        cache.mkdir()
        if (cache_dir() / "weights").is_dir():  # converting the offline weights is done once a machine
            (cache / "weights").symlink_to(cache_dir() / "weights")
        command = [
            sys.executable,
            "-m",
            "fiftyone_plugin",
            "label",
            str(images),
            "--out",
            f"{folder}/run",
            "-q",
        ]
        command += [
            "--method",
            method,
            *(["--preset", args.preset] if args.preset else ["--refine", refine]),
            "--size",
            str(args.size),
            "--classes",
            str(args.classes),
        ]
        command += [
            "--batch-size",
            str(args.batch_size),
            *(["--backbone", args.backbone] if args.backbone else []),
        ]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        subprocess.run(command, check=True, env={**os.environ, CACHE_ENV: str(cache)})
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return seconds, cpu, json.loads((Path(folder) / "run" / "run.json").read_text())["seconds"]


def main(argv: list[str] | None = None) -> int:
    """Time both and print a table of medians over the runs, as ratios of the bare forward pass."""
    default = default_folder() / "coco27"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--data", type=Path, default=default, help="folder with images/")
    parser.add_argument("--methods", nargs="+", default=list_methods())
    parser.add_argument("--backbone")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--classes", type=int, default=27)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--refine", choices=list(REFINERS), default="crf")
    parser.add_argument("--preset", help="fast or best, with the default method; sets the refinement, too")
    parser.add_argument("--runs", type=int, default=3, help="alternating repetitions")
    args = parser.parse_args(argv)
    images = args.data / "images"
    for method in args.methods:
        rows, ratios = [], []
        for _ in range(args.runs):
            bare, bare_cpu, count = bare_forward(images, args.backbone, args.size, args.batch_size)
            total, total_cpu, stages = whole_label(images, method, args.refine, args)
            ratios.append((total / bare, total_cpu / bare_cpu))
            rows.append({"bare forward pass": bare, "label, whole process": total, **stages})
        names = list(rows[0])
        medians = {name: float(np.median([row[name] for row in rows])) for name in names}
        table = [
            [
                name,
                f"{value:.1f}",
                f"{1000 * value / count:.0f}",
                f"{value / medians['bare forward pass']:.2f}",
            ]
            for name, value in medians.items()
        ]
        how = args.preset or f"refine {args.refine}"
        print(f"\n{method}, {how}: {count} images, {args.size} px, median of {args.runs} runs")
        print(format_table(["stage", "seconds", "ms an image", "x bare"], table))
        pairs = ", ".join(f"{wall:.2f} of the time, {cpu:.2f} of the CPU time" for wall, cpu in ratios)
        print(f"whole / bare, pair by pair: {pairs}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
