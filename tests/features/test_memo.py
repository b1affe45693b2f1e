"""What is kept beside the features: on disk, in bounded size, and in memory."""

from __future__ import annotations

import numpy as np

from fiftyone_plugin.features.memo import MemoFolder, ScratchMemo
from fiftyone_plugin.features.types import NoMemo


def test_memo_keeps_arrays_by_image_and_name(tmp_path):
    memo = MemoFolder(tmp_path).of("ab" * 32)
    assert memo.get("regions") is None
    arrays = {"a": np.arange(6).reshape(2, 3), "empty": np.zeros((0, 4), np.float32)}
    memo.put("regions", arrays)
    found = MemoFolder(tmp_path).of("ab" * 32).get("regions")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert memo.get("other") is None
    assert MemoFolder(tmp_path).of("cd" * 32).get("regions") is None
    memo.put("regions", {"a": np.zeros(1)})
    assert memo.get("regions").keys() == {"a"}


def test_damaged_memos_are_none(tmp_path):
    memo = MemoFolder(tmp_path).of("ab" * 32)
    memo.put("regions", {"a": np.arange(1000), "b": np.ones((50, 50))})
    (path,) = tmp_path.rglob("*.npz")
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in (0, 1, 30, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        assert memo.get("regions") is None
    for _ in range(300):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        found = memo.get("regions")  # the bytes that were hit may be harmless ones
        for array in (found or {}).values():
            assert array.tobytes() in (np.arange(1000).tobytes(), np.ones((50, 50)).tobytes())


def test_a_folder_of_memos_is_bounded_also_over_a_restart(tmp_path, caplog):
    arrays = {"tokens": np.zeros((10, 10), np.float32)}
    folder = MemoFolder(tmp_path, limit_bytes=1000)
    for i in range(5):
        folder.of(f"{i:064}").put("tokens", arrays)
    kept = [i for i in range(5) if folder.of(f"{i:064}").get("tokens") is not None]
    assert kept == [0, 1]
    assert caplog.text.count("the limit") == 1
    MemoFolder(tmp_path, limit_bytes=1000).of(f"{7:064}").put("tokens", arrays)
    assert folder.of(f"{7:064}").get("tokens") is None


def test_scratch_reads_what_is_kept_and_keeps_nothing_on_disk(tmp_path):
    kept = MemoFolder(tmp_path).of("ab" * 32)
    kept.put("old", {"a": np.arange(3)})
    scratch = ScratchMemo(kept)
    scratch.put("new", {"a": np.ones(2)})
    assert scratch.get("old")["a"].tolist() == [0, 1, 2]
    assert scratch.get("new")["a"].tolist() == [1, 1]
    assert kept.get("new") is None
    assert ScratchMemo(NoMemo()).get("new") is None
