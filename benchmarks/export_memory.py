"""Peak memory of an export against the number of images.

    python -m benchmarks.export_memory --images 1000 10000 100000

Each size is exported in a process of its own, as COCO instances, from a folder of small images with masks
that are links to a few files. Everything but the list of paths is streamed, so memory should hardly grow.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CHILD = """
import json, resource, sys
from fiftyone_plugin import export
result = export(sys.argv[1], out=sys.argv[2], images="reference", jobs=1)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"images": result.images, "annotations": result.annotations, "peak": peak}))
"""


def make_folder(root: Path, n: int, size: tuple[int, int]) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("source", "images", "masks"):
        (root / name).mkdir(parents=True)
    (root / "classes.json").write_text(json.dumps({str(i): f"class {i}" for i in range(1, 28)}))
    Image.new("RGB", (size[1], size[0])).save(root / "source" / "image.jpg")
    for i in range(16):
        blocks = rng.integers(0, 28, (3, 4), np.uint8).repeat(size[0] // 3, 0).repeat(size[1] // 4, 1)
        Image.fromarray(blocks).save(root / "source" / f"{i}.png")
    for i in range(n):
        (root / "images" / f"{i:06d}.jpg").symlink_to(root / "source" / "image.jpg")
        (root / "masks" / f"{i:06d}.png").symlink_to(root / "source" / f"{i % 16}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--size", type=int, nargs=2, default=(60, 80), metavar=("HEIGHT", "WIDTH"))
    arguments = parser.parse_args()
    print("| images | annotations | peak memory, MB | seconds | file, MB |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for n in arguments.images:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name) / "in"
            make_folder(root, n, tuple(arguments.size))
            start = time.perf_counter()
            command = [sys.executable, "-c", CHILD, str(root), str(Path(name) / "out")]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds = time.perf_counter() - start
            found = json.loads(done.stdout.splitlines()[-1])
            size = (Path(name) / "out" / "annotations" / "instances.json").stat().st_size / 1e6
        row = f"| {n:,} | {found['annotations']:,} | {found['peak']:.0f} | {seconds:.0f} | {size:.0f} |"
        print(row, flush=True)


if __name__ == "__main__":
    main()
