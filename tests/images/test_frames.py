"""Frames of a video, against a video whose every frame says its number by its brightness."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fiftyone_plugin.errors import ImageReadError
from fiftyone_plugin.images.frames import sampled_frames


def make_video(path, frames, rate):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 10 + 5 * number, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(
    ("rate", "numbers"),
    [(5, [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]), (1, [1, 11]), (10, range(1, 21)), (1000, range(1, 21))],
)
def test_frames_are_taken_evenly_in_time(tmp_path, rate, numbers):
    found = list(sampled_frames(make_video(tmp_path / "v.avi", 20, 10), rate))
    assert [number for number, _ in found] == list(numbers)
    for number, pixels in found:
        assert pixels.shape == (48, 64, 3)
        assert abs(float(pixels.mean()) - (10 + 5 * (number - 1))) < 2


def test_a_rate_that_divides_nothing_keeps_its_pace(tmp_path):
    found = [number for number, _ in sampled_frames(make_video(tmp_path / "v.avi", 30, 30), 7)]
    assert found == [1, 6, 10, 14, 19, 23, 27]


@pytest.mark.parametrize("content", [b"", b"no video", None])
def test_what_is_no_video_says_so(tmp_path, content):
    path = tmp_path / "v.avi"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageReadError, match=r"v\.avi: no frame of it can be read"):
        list(sampled_frames(path, 1))
