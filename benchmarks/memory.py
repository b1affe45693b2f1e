"""Peak memory of a whole ``label`` run as the number of images grows.

    python -m benchmarks.memory --data DIR [--counts 200 2000] [--size 448]

Images are repeated under new names; ``--distinct`` also appends a few bytes to every copy (JPEG readers skip
them), so that no copy is recognised as known and everything is computed for each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.data import default_folder
from fiftyone_plugin.common.paths import CACHE_ENV, cache_dir
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.images.listing import list_images
from fiftyone_plugin.methods import DEFAULT_METHOD


def repeat_images(source: Path, target: Path, count: int, distinct: bool) -> None:
    """Fill ``target`` with ``count`` copies of the images in ``source``, under new names."""
    items = list_images(source)
    for i in range(count):
        item = items[i % len(items)]
        data = Path(item.path).read_bytes()
        suffix = i.to_bytes(8, "big") if distinct and i >= len(items) else b""
        (target / f"{i:06d}{Path(item.path).suffix}").write_bytes(data + suffix)


def peak_memory(images: Path, args: argparse.Namespace) -> int:
    """Run ``label`` in a new process and return its peak resident memory in MiB (children not counted)."""
    with tempfile.TemporaryDirectory(prefix="pseudomask-memory-") as folder:
        cache = Path(folder) / "cache"
        cache.mkdir()
        if (cache_dir() / "weights").is_dir():
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
        command += ["--method", args.method, "--size", str(args.size), "--refine", args.refine]
        code = (
            "import resource, subprocess, sys\n"
            "subprocess.run(sys.argv[1:], check=True)\n"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *command],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, CACHE_ENV: str(cache)},
        )
        unit = 1024 * 1024 if sys.platform == "darwin" else 1024
        return int(done.stdout.split()[-1]) // unit


def main(argv: list[str] | None = None) -> int:
    """Measure and print a table."""
    default = default_folder() / "coco27"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--data", type=Path, default=default, help="folder with images/")
    parser.add_argument("--counts", nargs="+", type=int, default=[200, 2000])
    parser.add_argument("--method", default=DEFAULT_METHOD)
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--refine", choices=["crf", "none"], default="crf")
    parser.add_argument("--distinct", action="store_true")
    args = parser.parse_args(argv)
    peaks = []
    for count in args.counts:
        with tempfile.TemporaryDirectory(prefix="pseudomask-images-") as folder:
            repeat_images(args.data / "images", Path(folder), count, args.distinct)
            peaks.append(peak_memory(Path(folder), args))
    rows = [
        [str(count), str(peak), f"{100 * (peak / peaks[0] - 1):+.1f} %"]
        for count, peak in zip(args.counts, peaks, strict=True)
    ]
    print(format_table(["images", "peak MiB", "growth"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
