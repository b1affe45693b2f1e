"""Bad images, what a run has written, and runs that stop."""

from __future__ import annotations

from pathlib import Path

from fiftyone_plugin.common.progress import CallbackProgress
from fiftyone_plugin.runs.samples import read_samples

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
