"""Bad images, what a run has written, runs that stop, and runs without a pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fiftyone_plugin.common.progress import CallbackProgress
from fiftyone_plugin.masks.files import write_mask
from fiftyone_plugin.runs.folder import RunDirectory
from fiftyone_plugin.runs.record import RunDocument
from fiftyone_plugin.runs.samples import SampleRow, read_samples

REPOSITORY = Path(__file__).resolve().parents[2]
FAULTS = str(REPOSITORY / "tests" / "soak" / "faults.py")
SETTINGS = {"method": "lightcluster", "seed": 0, "backbone": {"name": "a", "size": 448}}

BAD = {
    "broken/empty.jpg": "empty file",
    "broken/truncated.jpg": "truncated file",
    "broken/header.jpg": "damaged or truncated image header",
    "broken/text.png": "not an image in a known format",
}


def add_bad(folder: Path, photo: Path) -> None:
    (folder / "broken").mkdir()
    (folder / "broken" / "empty.jpg").touch()
    content = photo.read_bytes()
    (folder / "broken" / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (folder / "broken" / "header.jpg").write_bytes(content[:20])
    (folder / "broken" / "text.png").write_text("hello")


def masks_of(out: Path) -> dict[str, bytes]:
    folder = out / "masks"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def interrupt(stage_name: str, after: int):
    """A callback that stops the run as Ctrl-C does, in a stage after some units."""

    def callback(stage, done, total):
        if stage == stage_name and done >= after:
            raise KeyboardInterrupt

    return CallbackProgress(callback, interval=0)


def at(stage_name: str, action):
    """Do something when a stage begins."""

    def callback(stage, done, total):
        if stage == stage_name and done == 0:
            action()

    return CallbackProgress(callback, interval=60)


def table_of(out: Path) -> list[dict[str, object]]:
    """The table, without the time that it took."""
    return [{**vars(row), "seconds": 0} for row in read_samples(out / "samples.csv")]


def opened(root: Path, settings: dict | None = None, **options) -> RunDirectory:
    return RunDirectory(root).open(settings or SETTINGS, **{"resume": False, "restart": False, **options})


def add(directory: RunDirectory, name: str) -> SampleRow:
    row = SampleRow(image=f"{name}.jpg", mask=f"{name}.png", width=3, height=2, classes=(1,), coverage=0.5)
    directory.append([row])
    write_mask(directory.masks / row.mask, np.ones((2, 3), np.uint8))
    return row


def complete(root: Path, names: tuple[str, ...] = ("a", "sub/b")) -> None:
    """What the pipeline does, without the pipeline."""
    directory = opened(root)
    rows = [add(directory, name) for name in names]
    directory.model.mkdir()
    for name in ("method.json", "arrays.safetensors", "pipeline.json"):
        (directory.model / name).write_text("x")
    directory.write_classes({1: "class 1"})
    (root / "contact_sheet.png").write_text("x")
    directory.write_samples(rows)
    directory.write_run(RunDocument(SETTINGS, status="complete"))
    directory.finish()


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
