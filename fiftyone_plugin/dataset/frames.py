"""A dataset of frames from a dataset of videos: images, which can be labelled."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.progress import NullProgress, Progress
from ..common.skipped import Skipped
from ..errors import ImageReadError, UsageError
from ..images.frames import sampled_frames
from .database import database_errors
from .keys import numbered

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection as View

__all__ = ["SampledFrames", "free_name", "sample_frames"]

HIGHEST_RATE = 1000.0
QUALITY = 95  # of the JPEG files


@dataclass(frozen=True)
class SampledFrames:
    """A dataset of frames.

    Attributes:
        dataset: its samples have the fields ``video`` (path), ``video_id`` (sample) and ``frame_number``.
        folder: where the files are.
        left_out: videos without frames, and why.
    """

    dataset: Dataset
    folder: Path
    left_out: tuple[Skipped, ...] = ()


def free_name(wanted: str) -> str:
    """Return a name that no dataset has: the wanted one, or with a number behind it."""
    import fiftyone as fo

    taken = set(fo.list_datasets())
    return next(name for name in numbered(wanted, "-") if name not in taken)


def sample_frames(
    videos: View, rate: float = 1.0, name: str | None = None, progress: Progress | None = None
) -> SampledFrames:
    """Write about ``rate`` frames a second of each video to files, and make a dataset of them.

    The videos and their dataset are not changed. Where it cannot be finished, nothing of it stays.

    Args:
        videos: dataset or view of videos.
        rate: frames a second, above 0.
        name: of the new dataset; ``None`` for ``<dataset>-frames``, or the next free one.
        progress: where the work reports to.

    Raises:
        UsageError: not videos, a name that is taken, an impossible rate, or no video has a frame.
    """
    import fiftyone as fo

    if videos.media_type != "video":
        raise UsageError(f"frames can be sampled of videos; these samples are of type {videos.media_type!r}")
    if not 0 < rate <= HIGHEST_RATE:
        raise UsageError(f"the rate must be above 0 and at most {HIGHEST_RATE:g} frames a second, got {rate}")
    source = videos._dataset
    with database_errors("Sample the frames again once it does"):
        name = name or free_name(f"{source.name}-frames")
        if fo.dataset_exists(name):
            raise UsageError(f"there is a dataset {name!r} already: choose another name")
        try:
            dataset = fo.Dataset(name, persistent=source.persistent)
        except ValueError as error:  # a name without letters, or one like another one in an address
            raise UsageError(str(error)) from error
        folder = Path(fo.config.default_dataset_dir) / f"{dataset.slug}-{dataset._doc.id}"
        try:
            left_out = _fill(dataset, folder, videos, rate, progress or NullProgress())
            if not len(dataset):
                reason = f": {left_out[0]}" if left_out else ""
                raise UsageError(f"no video has a frame{reason}")
        except BaseException:
            dataset.delete()
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return SampledFrames(dataset, folder, tuple(left_out))


def _fill(dataset: Dataset, folder: Path, videos: View, rate: float, progress: Progress) -> list[Skipped]:
    import fiftyone as fo

    left_out = []
    with progress.stage("frames", total=len(videos), unit="video") as stage:
        for id_, path, tags in zip(*videos.values(["id", "filepath", "tags"]), strict=True):
            try:
                files = _write(path, folder / id_, rate)
            except (ImageReadError, OSError) as error:
                left_out.append(Skipped(path, str(error).removeprefix(f"{path}: ")))
                files = {}
            common = {"tags": tags, "video": path, "video_id": id_}
            dataset.add_samples([fo.Sample(str(file), frame_number=n, **common) for n, file in files.items()])
            stage.update()
    return left_out


def _write(video: str, folder: Path, rate: float) -> dict[int, Path]:
    """Write the frames of a video, and return number -> file."""
    import cv2

    written = {}
    for number, pixels in sampled_frames(video, rate):
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{number:06d}.jpg"
        encoded, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        if not encoded:
            raise ImageReadError(video, f"frame {number} cannot be written as JPEG")
        file.write_bytes(data.tobytes())
        written[number] = file
    return written
