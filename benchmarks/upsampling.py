"""Seconds and memory of bringing soft scores to the size of an image.

    python -m benchmarks.upsampling [--labels 13]

Every size runs in a process of its own, whose peak memory above the start is what is printed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import numpy as np

SIZES = ((480, 640), (2000, 4000), (3000, 4000), (8000, 12000))


def smooth_scores(labels: int, height: int, width: int) -> np.ndarray:
    """Return (labels, height, width) float32 scores that sum to 1, in patches of some tenth of the side."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    sigma = max(height, width) / 12
    noise = np.stack([gaussian_filter(rng.normal(size=(height, width)), sigma) for _ in range(labels)])
    odds = np.exp(noise * sigma * 8)
    return (odds / odds.sum(0)).astype(np.float32)


def measure(labels: int, grid: tuple[int, int], size: tuple[int, int], whole: bool) -> str:
    import resource

    from fiftyone_plugin.common.parallel import one_thread
    from fiftyone_plugin.masks.argmax import winners
    from fiftyone_plugin.masks.upsample import resize_scores

    scores = smooth_scores(labels, *grid)
    winners(scores, 300, 400)  # imports and buffers
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    with one_thread():
        for _ in range(3):
            start = time.process_time()
            found = resize_scores(scores, *size).argmax(0) if whole else winners(scores, *size)
            seconds.append(time.process_time() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{min(seconds):8.3f} s {(after - before) / 1024:8.0f} MB  {found.dtype}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--labels", type=int, default=13)
    parser.add_argument("--one", nargs=5, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        rows, columns, height, width, whole = args.one
        print(measure(args.labels, (rows, columns), (height, width), bool(whole)))
        return
    for size in SIZES:
        for grid in ((37, 37), (180, 240)):
            for whole in (0, 1):
                if whole and size[0] * size[1] * args.labels > 4e8:
                    continue  # all at once would take gigabytes
                one = [*grid, *size, whole]
                command = [sys.executable, "-m", "benchmarks.upsampling", "--labels", str(args.labels)]
                done = subprocess.run(
                    [*command, "--one", *map(str, one)], capture_output=True, text=True, check=True
                )
                name = "all at once" if whole else "winners"
                where = f"{size[0]:6} x {size[1]:<6} from {grid[0]:3} x {grid[1]:<3}"
                print(f"{where} {name:12} {done.stdout.strip()}")


if __name__ == "__main__":
    main()
