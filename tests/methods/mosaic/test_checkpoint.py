"""An interrupted fit goes on from the images that it had done, to the same bytes."""

from __future__ import annotations

import numpy as np
import pytest

from fiftyone_plugin.common.progress import CallbackProgress
from fiftyone_plugin.methods.mosaic import checkpoint
from fiftyone_plugin.methods.mosaic.checkpoint import RegionStore
from fiftyone_plugin.methods.mosaic.method import Mosaic
from fiftyone_plugin.methods.mosaic.regions import ImageRegions

from ..synthetic import MemorySource, scenes

OPTIONS = {"layers": ["out"], "cuts": [("out", 2), ("stack", 3)], "cue": "out", "whiten": 8}


class Watched(MemorySource):
    """Counts the images that go through the network for the regions."""

    computed = 0

    def batches(self, *, skip=None):
        for batch in super().batches(skip=skip):
            self.computed += len(batch)
            yield batch


def fit(source, work_dir=None, stop_at=None, **options) -> Mosaic:
    method = Mosaic(5, **{**OPTIONS, **options})
    method.work_dir = work_dir

    def note(stage: str, done: int, total: int) -> None:
        if stage == "regions" and done == stop_at:
            raise KeyboardInterrupt

    return method.fit(source, progress=CallbackProgress(note, interval=0))


def state(method: Mosaic) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in method.get_state()[1].items()}


@pytest.fixture
def small_files(monkeypatch):
    monkeypatch.setattr(checkpoint, "IMAGES", 4)


@pytest.mark.parametrize("stop_at", [1, 10, 24])
def test_interrupted_it_goes_on_to_the_same_bytes(tmp_path, small_files, stop_at):
    expected = state(fit(scenes(24)))
    with pytest.raises(KeyboardInterrupt):
        fit(scenes(24), tmp_path, stop_at)
    source = Watched(scenes(24))
    assert state(fit(source, tmp_path)) == expected
    assert source.computed <= 24 - (stop_at - 1) // 3 * 3
    again = Watched(scenes(24))  # interrupted after the regions: nothing has to be done anew
    assert state(fit(again, tmp_path)) == expected
    assert again.computed == 0


def test_files_that_are_damaged_or_of_other_settings_are_not_used(tmp_path, small_files):
    expected = state(fit(scenes(24), tmp_path))
    files = sorted(tmp_path.iterdir())
    assert len(files) == 6
    content = bytearray(files[1].read_bytes())
    content[len(content) // 2] ^= 255
    files[1].write_bytes(content)
    files[3].write_bytes(files[3].read_bytes()[:-100])
    source = Watched(scenes(24))
    assert state(fit(source, tmp_path)) == expected
    assert source.computed == 8
    other = Watched(scenes(24))
    fit(other, tmp_path, random_state=1)
    assert other.computed == 24
    fewer = Watched(scenes(20))  # they share the patches of the head among fewer
    assert state(fit(fewer, tmp_path)) == state(fit(scenes(20)))


def regions(seed: int) -> ImageRegions:
    rng = np.random.default_rng(seed)
    return ImageRegions(
        rng.random((3, 5)).astype(np.float16),
        rng.random(3).astype(np.float32),
        rng.random((2, 4)).astype(np.float16),
        rng.integers(3, size=(2, 2)).astype(np.int32),
        np.array(seed),
    )


def test_what_comes_back_is_what_was_put_in(tmp_path, small_files):
    store = RegionStore(tmp_path / "fit", "ab")
    for seed in range(6):
        store.add(f"{seed:064x}", regions(seed))
    assert len(RegionStore(tmp_path / "fit", "ab").found) == 4
    store.flush()
    again = RegionStore(tmp_path / "fit", "ab")
    assert sorted(again.found) == [f"{seed:064x}" for seed in range(6)]
    for seed in range(6):
        for name, array in again.found[f"{seed:064x}"].arrays().items():
            np.testing.assert_array_equal(array, regions(seed).arrays()[name])
            assert array.dtype == regions(seed).arrays()[name].dtype
    again.add("f" * 64, regions(7))
    again.flush()
    assert len(RegionStore(tmp_path / "fit", "ab").found) == 7
    assert not RegionStore(tmp_path / "fit", "ac").found
    assert not RegionStore(None, "ab").found
