"""Work over a Ray cluster: a million items through one driver, and the rate of one and two workers.

    python -m benchmarks.cluster million [--items N]
    python -m benchmarks.cluster scaling --images DIR [--count N]

``million`` lists N paths that are not there, announces them, maps a function that makes up a row over them,
and records what comes back, as a run does. ``scaling`` labels photographs with a fitted model: without an
engine, with one worker, with two of half the cores. Rates are of the second half of the images, so that
starting up and loading the model do not count; that is named beside. The images are not those of the fit.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fiftyone_plugin import label
from fiftyone_plugin.common.progress import CallbackProgress
from fiftyone_plugin.engines.base import Needs
from fiftyone_plugin.engines.registry import create_engine
from fiftyone_plugin.images.listing import ImageItem, list_images
from fiftyone_plugin.runs.cleaning import JOURNAL
from fiftyone_plugin.runs.folder import RunDirectory
from fiftyone_plugin.runs.images import describe_images
from fiftyone_plugin.runs.samples import SampleRow, read_journal, total_areas

CHUNK = 64  # as a run has


@dataclass(frozen=True)
class Rows:
    """Makes up a row an item."""

    def open(self) -> Callable[[Sequence[ImageItem]], Iterator[SampleRow]]:
        return lambda items: (made_up(item) for item in items)


def made_up(item: ImageItem) -> SampleRow:
    ids = tuple(range(1, 7))
    return SampleRow(
        item.key, item.mask_name, width=640, height=480, classes=ids, shares=(1 / 6,) * 6,
        qualities=(0.5,) * 6, coverage=1.0, quality=0.5, seconds=0.1, stamp="123456:1700000000000000000",
    )  # fmt: skip


def million(items: int, workers: int) -> None:
    """Print seconds and memory of each step."""
    from benchmarks.cluster import Rows  # workers cannot import what is in __main__

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "list.txt"
        with listed.open("w") as file:
            file.writelines(f"/pictures/{n // 1000:06d}/photograph-{n:09d}.jpg\n" for n in range(items))
        clock("write a list of paths")
        images = list_images(listed)
        clock("list")
        settings = describe_images(dict.fromkeys((item.key for item in images), ""))
        directory = RunDirectory(Path(folder) / "run").open(
            settings, resume=False, restart=False, items=images
        )
        clock("begin the run: names, list of images")
        directory.announce(images)
        clock("announce")
        with create_engine("ray", needs=Needs(workers, 1, 0.0)) as engine:
            clock("start the cluster")
            rows = {}
            for row in engine.map(Rows(), images, CHUNK):
                directory.append([row])
                rows[row.image] = row
            clock("map and record")
        assert len(rows) == items
        total_areas(rows.values())
        clock("areas")
        directory.write_samples(rows[item.key] for item in images)
        clock("samples.csv")
        done = sum(1 for _ in read_journal(directory.work / JOURNAL))
        assert done == 2 * items
        clock("read the journal again, as --resume does")
        sizes = {p.name: p.stat().st_size for p in (directory.work / "images.json", directory.samples_csv)}
        print({name: f"{size / items:.0f} bytes an image" for name, size in sizes.items()})
    clock.end()


class Clock:
    """Prints what each step took."""

    def __init__(self) -> None:
        self.first = self.last = time.perf_counter()

    def __call__(self, what: str) -> None:
        now = time.perf_counter()
        print(f"{what:<45} {now - self.last:8.1f} s {peak():8.2f} GB at most so far", flush=True)
        self.last = now

    def end(self) -> None:
        own = resource.getrusage(resource.RUSAGE_SELF)
        print(f"{'all':<45} {time.perf_counter() - self.first:8.1f} s {peak():8.2f} GB; "
              f"{own.ru_utime + own.ru_stime:.0f} CPU seconds of the driver")  # fmt: skip


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def scaling(folder: Path, count: int, repeats: int) -> None:
    """Print rates, best of the repeats, which take turns."""
    every = [item.path for item in list_images(folder)]
    learnt, images = every[:24], every[24 : 24 + count]
    cores = len(os.sched_getaffinity(0))
    ways = {
        "no engine": {"jobs": cores},
        "1 worker, all cores": {"engine": "ray", "workers": 1, "cpus_per_worker": cores},
        "1 worker, half the cores": {"engine": "ray", "workers": 1, "cpus_per_worker": cores // 2},
        "2 workers, half the cores each": {"engine": "ray", "workers": 2, "cpus_per_worker": cores // 2},
    }
    with tempfile.TemporaryDirectory() as out:
        model = label(learnt, out=Path(out) / "fit", classes=8, size=224, device="cpu").out / "model"
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(repeats):
            for number, (name, how) in enumerate(ways.items()):
                times: list[tuple[float, int]] = []
                progress = CallbackProgress(lambda stage, done, _, to=times: note(stage, done, to), 0)
                began = time.perf_counter()
                run = Path(out) / f"{turn}-{number}"
                label(images, out=run, model=model, device="cpu", progress=progress, **how)
                first = times[0][0]
                half, ahead = next(each for each in times if each[1] >= len(images) // 2)
                last, done = times[-1]
                rates[name].append((done - ahead) / (last - half))
                rate, load = rates[name][-1], os.getloadavg()[0]
                print(
                    f"{name:<32} {rate:6.3f} images/s, first row at {first - began:.1f} s, load {load:.1f}",
                    flush=True,
                )
    for name, found in rates.items():
        print(f"{name:<32} {max(found):6.3f} images/s at best")


def note(stage: str, done: int, times: list[tuple[float, int]]) -> None:
    if stage == "masks" and done and (not times or done > times[-1][1]):
        times.append((time.perf_counter(), done))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["million", "scaling"])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--images", type=Path)
    parser.add_argument(
        "--count", type=int, default=256, help="of fewer than 256 a rate is that of a chunk or two"
    )
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    if args.what == "million":
        million(args.items, args.workers)
    else:
        scaling(args.images, args.count, args.repeats)


if __name__ == "__main__":
    main()
