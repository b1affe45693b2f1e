"""A dataset of frames from videos: what it holds, what is left out, and that the source stays as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fiftyone_plugin import sample_frames
from fiftyone_plugin.errors import UsageError
from tests.images.test_frames import make_video


@pytest.fixture
def videos(fo, tmp_path):
    for name, frames in (("a/clip", 10), ("b/clip", 20)):
        path = tmp_path / f"{name}.avi"
        path.parent.mkdir()
        make_video(path, frames, 10)
    (tmp_path / "broken.avi").write_bytes(b"no video")
    dataset = fo.Dataset()
    paths = [tmp_path / name for name in ("a/clip.avi", "b/clip.avi", "broken.avi")]
    dataset.add_samples([fo.Sample(filepath=str(path), tags=[path.parent.name]) for path in paths])
    yield dataset
    for name in fo.list_datasets():
        if name.startswith(dataset.name):
            fo.delete_dataset(name)


def listed(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


def test_frames_of_two_videos_of_one_name(videos, tmp_path):
    before, files = json.loads(videos.to_json()), listed(tmp_path)
    made = sample_frames(videos, rate=5)
    frames = made.dataset
    assert frames.name == f"{videos.name}-frames"
    assert frames.media_type == "image"
    assert frames.values("frame_number") == [1, 3, 5, 7, 9, *range(1, 20, 2)]
    a, b, _ = videos.values("id")
    assert frames.values("video_id") == [a] * 5 + [b] * 10
    assert frames.distinct("tags") == ["a", "b"]
    assert len({Path(path) for path in frames.values("filepath") if Path(path).is_file()}) == 15
    (left,) = made.left_out
    assert left.key.endswith("broken.avi")
    assert "no frame" in left.reason
    assert json.loads(videos.to_json()) == before
    assert listed(tmp_path) == files
    assert sample_frames(videos, rate=1).dataset.name == f"{videos.name}-frames-2"


def test_what_cannot_be_sampled_leaves_nothing(fo, videos):
    names = fo.list_datasets()
    with pytest.raises(UsageError, match=r"no video has a frame: .*broken\.avi: no frame"):
        sample_frames(videos[2:])
    with pytest.raises(UsageError, match="above 0"):
        sample_frames(videos, rate=0)
    with pytest.raises(UsageError, match="there is a dataset"):
        sample_frames(videos, name=videos.name)
    with pytest.raises(UsageError, match="invalid slug-friendly name"):
        sample_frames(videos, name="///")
    assert fo.list_datasets() == names
    folder = Path(fo.config.default_dataset_dir)
    assert not [path for path in folder.glob(f"{videos.name}-frames*") if any(path.rglob("*.jpg"))]


def test_images_are_no_videos(fo):
    dataset = fo.Dataset()
    dataset.add_sample(fo.Sample(filepath="x.png"))
    with pytest.raises(UsageError, match="of type 'image'"):
        sample_frames(dataset)
    dataset.delete()


def test_stopped_it_leaves_nothing(fo, videos):
    class Stop(Exception):
        pass

    class Progress:
        def stage(self, *_args, **_options):
            raise Stop

    names = fo.list_datasets()
    with pytest.raises(Stop):
        sample_frames(videos, progress=Progress())
    assert fo.list_datasets() == names
