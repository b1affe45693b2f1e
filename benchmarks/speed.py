"""Speed of a whole ``label`` run against the bare forward pass of the backbone, in one go on one machine.

    python -m benchmarks.speed [--data DIR | --photos N...] [--megapixels 0.3] [--device auto] [--runs 3]
    python -m benchmarks.speed --table

The bare pass runs decoded batches through the backbone in the same precision and does nothing else. ``label``
is watched from outside, as a new process with an empty cache: start, imports, decoding, network, fitting,
refinement, writing. The rows below it are its own stage timings. ``--photos`` makes its own images
(:mod:`benchmarks.photographs`); of several numbers, the growth of memory is told. ``--table`` runs what
docs/benchmarks.md has of this kind of device, and prints its lines.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import default_folder
from benchmarks.photographs import make_photographs
from benchmarks.watching import watch
from fiftyone_plugin.common.parallel import batched
from fiftyone_plugin.common.paths import CACHE_ENV, cache_dir
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.features.backbones import Backbone, load_backbone, pick_device
from fiftyone_plugin.images.listing import list_images
from fiftyone_plugin.images.reading import read_image, resize_image
from fiftyone_plugin.methods import DEFAULT_METHOD

BARE_IMAGES = 128  # of more, the first
BARE_S = 2.0  # the pass is repeated until it took so long: a GPU is done with it in no time
LABEL_OPTIONS = ("preset", "refine", "backbone", "precision", "device", "batch_size", "jobs", "fit_images")


@dataclass(frozen=True)
class Bare:
    """The bare forward pass: seconds an image.

    Attributes:
        wall: of the clock.
        cpu: of all cores.
        compiled: of the clock, by ``torch.compile``; ``None`` where it was not tried or does not work.
    """

    wall: float
    cpu: float
    compiled: float | None = None


@dataclass(frozen=True)
class Labelled:
    """One run of ``label``.

    Attributes:
        images: that it labelled.
        seconds: of the whole process.
        cpu: of all cores, workers included.
        stages: stage -> seconds, as the run tells them.
        memory: bytes at most, workers included.
        disk: bytes beyond the results at most: cache, working files, and what is kept of images.
        forwards: images that went through the network; ``None`` where the run does not tell.
    """

    images: int
    seconds: float
    cpu: float
    stages: dict[str, float]
    memory: int
    disk: int
    forwards: int | None

    @property
    def outside(self) -> float:
        """Seconds of starting and ending, and between the stages."""
        return self.seconds - sum(self.stages.values())


# ---------------------------------------------------------------------- measuring


def bare_forward(images: Path, args: argparse.Namespace) -> Bare:
    """Time the forward pass alone over decoded batches, after a warm-up."""
    import torch

    backbone = load_backbone(
        args.backbone, cache_dir=cache_dir(), device=args.device.split(",")[0], precision=args.precision
    )
    on_cpu = backbone.device == "cpu"
    size = args.batch_size or (4 if on_cpu else 128)
    batches = [backbone.normalise(pixels) for pixels in _decoded(images, backbone, args.size, size)]
    wall, cpu = _passes(backbone, backbone.model.forward_features, batches)
    compiled = None
    if args.compile or not on_cpu:
        try:
            compiled, _ = _passes(backbone, torch.compile(backbone.model.forward_features), batches)
        except Exception as error:  # a compiler is missing, or has its own idea
            print(f"torch.compile: {type(error).__name__}", file=sys.stderr)
    del backbone, batches
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return Bare(wall, cpu, compiled)


def _decoded(images: Path, backbone: Backbone, size: int, batch_size: int) -> Iterator[np.ndarray]:
    side = backbone.round_size(size)
    items = list_images(images)[:BARE_IMAGES]
    for batch in batched(items, batch_size):
        yield np.stack([resize_image(read_image(item.path), side, side) for item in batch])


def _passes(backbone: Backbone, forward: Callable[[Any], Any], batches: Sequence[Any]) -> tuple[float, float]:
    """Return wall and CPU seconds an image of passes over all batches."""
    import torch

    kind = backbone.device.split(":")[0]
    autocast = torch.autocast(kind, dtype=torch.bfloat16, enabled=backbone.precision == "bfloat16")
    wait = torch.cuda.synchronize if kind == "cuda" else (lambda: None)
    with torch.inference_mode(), autocast:
        forward(batches[0])
        wait()
        start, cpu, count = time.perf_counter(), time.process_time(), 0
        while count == 0 or time.perf_counter() - start < BARE_S:
            for batch in batches:
                forward(batch)
                count += len(batch)
            wait()
        return (time.perf_counter() - start) / count, (time.process_time() - cpu) / count


def label(images: Path, method: str, args: argparse.Namespace) -> Labelled:
    """Run ``label`` once with an empty cache."""
    with tempfile.TemporaryDirectory(prefix="pseudomask-speed-") as folder:
        cache, out = Path(folder) / "cache", Path(folder) / "run"
        cache.mkdir()
        if (cache_dir() / "weights").is_dir():  # converting the offline weights is done once a machine
            (cache / "weights").symlink_to(cache_dir() / "weights")
        command = [sys.executable, "-m", "fiftyone_plugin", "label", str(images), "--out", str(out), "-q"]
        command += ["--method", method, "--size", str(args.size), "--classes", str(args.classes)]
        for name in LABEL_OPTIONS:
            if (value := getattr(args, name)) is not None:
                command += [f"--{name.replace('_', '-')}", str(value)]
        command += ["--cache"] if args.cache else []
        watched = watch(command, [cache, out / ".work", out / "tokens"], {CACHE_ENV: str(cache)})
        run = json.loads((out / "run.json").read_text())
    stages = {name: value for name, value in run["seconds"].items() if name != "total"}
    images_done, work = run["counts"]["labelled"], run.get("work") or {}
    return Labelled(
        images_done, watched.seconds, watched.cpu, stages, watched.memory, watched.disk, work.get("forwards")
    )


# ---------------------------------------------------------------------- tables


def median_run(runs: Sequence[Labelled]) -> Labelled:
    """Return a run whose every figure is the median of those of the runs; of memory and disk the largest."""

    def median(values: Sequence[float]) -> float:
        return float(np.median(values))

    return Labelled(
        runs[0].images,
        median([run.seconds for run in runs]),
        median([run.cpu for run in runs]),
        {name: median([run.stages.get(name, 0.0) for run in runs]) for name in runs[0].stages},
        max(run.memory for run in runs),
        max(run.disk for run in runs),
        runs[0].forwards,
    )


def time_rows(bare: Bare, run: Labelled) -> list[list[str]]:
    """Return a row for the whole and for each stage: seconds, ms an image, images a second, share, x bare."""
    rows = [_time_row("label, whole process", run.seconds, bare, run)]
    for name, seconds in sorted(run.stages.items(), key=lambda entry: -entry[1]):
        rows.append(_time_row(name, seconds, bare, run))
    rows.append(_time_row("start, end, between stages", run.outside, bare, run))
    rows.append(_time_row("bare forward pass", bare.wall * run.images, bare, run))
    if bare.compiled is not None:
        rows.append(_time_row("bare forward pass, compiled", bare.compiled * run.images, bare, run))
    return rows


def _time_row(name: str, seconds: float, bare: Bare, run: Labelled) -> list[str]:
    each = seconds / run.images
    return [
        name,
        f"{seconds:.1f}",
        f"{1000 * each:.1f}",
        f"{1 / each:.1f}" if each > 0 else "",
        f"{seconds / run.seconds:.0%}",
        f"{each / bare.wall:.2f}",
    ]


def notes(bare: Bare, run: Labelled) -> str:
    """Return what is no time, in a line."""
    parts = [f"CPU time {run.cpu / run.images / bare.cpu:.2f} x bare"] if bare.cpu else []
    if run.forwards is not None:
        parts.append(f"{run.forwards / run.images:.2f} forward passes an image")
    parts.append(f"peak memory {run.memory / 2**20:,.0f} MiB")
    parts.append(f"disk beyond results {run.disk / 1e6:,.0f} MB")
    return ", ".join(parts)


def growth(runs: Sequence[Labelled]) -> str:
    """Return how peak memory grows with the number of images."""
    first, last = runs[0], runs[-1]
    share = last.memory / first.memory - 1
    return f"peak memory, {first.images:,} -> {last.images:,} images: {share:+.1%}"


def ratios(pairs: Sequence[tuple[Bare, Labelled]]) -> str:
    """Return whole / bare of every pair of runs, as they followed each other."""
    return ", ".join(
        f"{run.seconds / run.images / bare.wall:.2f} (CPU time {run.cpu / run.images / bare.cpu:.2f})"
        for bare, run in pairs
    )


# ---------------------------------------------------------------------- commands


def measure(images: Path, method: str, args: argparse.Namespace) -> list[tuple[Bare, Labelled]]:
    """Run both in turn, as often as asked for, and print their table."""
    pairs = [(bare_forward(images, args), label(images, method, args)) for _ in range(args.runs)]
    run, bare = median_run([run for _, run in pairs]), median_bare([bare for bare, _ in pairs])
    how = args.preset or (f"refine {args.refine}" if args.refine else "defaults")
    print(f"\n{method}, {how}: {run.images:,} images, {args.size} px, median of {args.runs} runs")
    header = ["stage", "seconds", "ms an image", "images a second", "share", "x bare"]
    print(format_table(header, time_rows(bare, run)))
    print(f"{notes(bare, run)}\nwhole / bare, pair by pair: {ratios(pairs)}", flush=True)
    return pairs


def median_bare(passes: Sequence[Bare]) -> Bare:
    """Return the medians of bare passes."""
    compiled = [one.compiled for one in passes if one.compiled is not None]
    wall, cpu = (float(np.median([getattr(one, name) for one in passes])) for name in ("wall", "cpu"))
    return Bare(wall, cpu, float(np.median(compiled)) if compiled else None)


def table_of_gpu(args: argparse.Namespace) -> list[list[str]]:
    """Return the lines of a GPU: 1,000 and 10,000 photographs with the defaults."""
    few, many = (measure(images, DEFAULT_METHOD, args)[-1] for images in _made([1000, 10_000], args))
    return gpu_lines(few[1], *many)


def gpu_lines(few: Labelled, bare: Bare, many: Labelled) -> list[list[str]]:
    """Return them from two runs."""
    fastest = bare.compiled or bare.wall
    return [
        [f"{many.images:,} JPEGs, whole run with fit, images a second", f"{many.images / many.seconds:.0f}"],
        ["the same, labelling alone", f"{many.images / many.stages['masks']:.0f}"],
        ["bare forward pass, images a second", f"{1 / bare.wall:.0f}; compiled {1 / fastest:.0f}"],
        [f"bytes on disk beyond results, {many.images:,} images", f"{many.disk / 1e9:.2f} GB"],
        [f"peak memory, {few.images:,} -> {many.images:,}", f"{many.memory / few.memory - 1:+.1%}"],
    ]


def table_of_cpu(args: argparse.Namespace) -> list[list[str]]:
    """Return the lines of a CPU: the images of ``--data`` with the defaults, and fast."""
    lines = []
    for preset in (None, "fast"):
        args.preset = preset
        pairs = measure(args.data / "images", DEFAULT_METHOD, args)
        lines.append([f"whole run / bare forward pass, {preset or 'default'}", ratios(pairs)])
    return lines


def _made(counts: Sequence[int], args: argparse.Namespace) -> Iterator[Path]:
    """Yield folders of photographs, one at a time."""
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="pseudomask-photos-") as folder:
            make_photographs(Path(folder), count, args.megapixels)
            yield Path(folder)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, default=default_folder() / "coco27", help="folder with images/")
    add("--photos", type=int, nargs="+", metavar="N", help="make so many photographs instead")
    add("--megapixels", type=float, default=0.3, help="of the photographs that are made")
    add("--table", action="store_true", help="the lines of docs/benchmarks.md for this kind of device")
    add("--methods", nargs="+", default=[DEFAULT_METHOD])
    add("--backbone")
    add("--device", default="auto")
    add("--precision", default="auto", help="auto, float32 or bfloat16")
    add("--size", type=int, default=448)
    add("--classes", type=int, default=27)
    add("--batch-size", type=int, help="of both; by default label chooses, and the bare pass takes 4, or 128")
    add("--jobs", type=int)
    add("--fit-images", type=int)
    add("--refine")
    add("--preset", help="fast or best, with the default method; sets the refinement, too")
    add("--cache", action="store_true", help="with the feature cache")
    add("--compile", action="store_true", help="time the compiled forward pass on a CPU, too")
    add("--runs", type=int, default=1, help="alternating repetitions")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Time both and print a table of medians over the runs, as ratios of the bare forward pass."""
    args = build_parser().parse_args(argv)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded, as the command does
    if args.table:
        on_cpu = pick_device(args.device.split(",")[0]) == "cpu"
        lines = table_of_cpu(args) if on_cpu else table_of_gpu(args)
        print(f"\n{format_table(['', 'measured'], lines)}")
        return 0
    for method in args.methods:
        folders = _made(args.photos, args) if args.photos else iter([args.data / "images"])
        runs = [median_run([run for _, run in measure(images, method, args)]) for images in folders]
        if len(runs) > 1:
            print(growth(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
