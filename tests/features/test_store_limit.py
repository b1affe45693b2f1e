"""The limit of the cache, and clearing it."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import numpy as np
import pytest

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.features import store as store_module
from fiftyone_plugin.features.cache import cache_info, clear_cache
from fiftyone_plugin.features.store import FeatureStore, spec_hash

from .store_helpers import SPEC, absent, bits, digest, features, file_for, files_in, fill, posix_only, same


@pytest.fixture
def new_process(monkeypatch):
    """What this process has used is forgotten, as if another had written what is there."""

    def forget() -> None:
        monkeypatch.setattr(store_module, "_began", time.time_ns())

    forget()
    return forget


def big(number: int) -> dict[str, np.ndarray]:
    return {"out": np.random.default_rng(number).integers(0, 256, 10_000, np.uint8)}


def write_big(cache: Path, numbers, limit: int | None, spec=SPEC) -> bool:
    store = FeatureStore(cache, spec, limit)
    for number in numbers:
        store.put(digest(number), big(number))
    return store.full


def stored(cache: Path, numbers, spec=SPEC) -> list[int]:
    store = FeatureStore(cache, spec, None)
    return [
        n
        for n in numbers
        if (found := store.get(digest(n), ["out"])) and bits(found["out"]) == bits(big(n)["out"])
    ]


def test_limit_evicts_least_recently_used_of_all_specs(tmp_path, new_process):
    other = SPEC | {"size": 224}
    write_big(tmp_path, range(3), None)
    write_big(tmp_path, range(10, 13), None, other)
    for age, (number, spec) in enumerate(
        [(11, other), (2, SPEC), (0, SPEC), (12, other), (1, SPEC), (10, other)]
    ):
        os.utime(file_for(tmp_path, number, spec), (1000 + age, 1000 + age))
    new_process()
    # 60 kB are there: room for one more under 71.5 kB, then three of the oldest have to go
    assert not write_big(tmp_path, range(20, 24), 71_500)
    new_process()
    assert stored(tmp_path, range(30)) == [1, 20, 21, 22, 23]
    assert stored(tmp_path, range(30), other) == [10, 12]
    infos = {info.spec_hash: info for info in cache_info(tmp_path)}
    assert infos[spec_hash(other)].images == 2


def test_reading_makes_recently_used(tmp_path, new_process):
    write_big(tmp_path, range(3), None)
    for number in range(3):
        os.utime(file_for(tmp_path, number), (1000 + number, 1000 + number))
    new_process()
    assert stored(tmp_path, [0]) == [0]
    assert file_for(tmp_path, 0).stat().st_mtime > time.time() - 60
    new_process()
    assert FeatureStore(tmp_path, SPEC, None).has(digest(1), ["out"])
    new_process()
    assert not write_big(tmp_path, [20], 31_000)
    assert stored(tmp_path, range(30)) == [0, 1, 20]


def test_full(tmp_path, new_process, caplog):
    assert write_big(tmp_path, range(8), 51_000)
    assert len(caplog.records) == 1
    assert "the limit of 0.0 GB is reached" in caplog.text
    assert stored(tmp_path, range(8)) == [0, 1, 2, 3, 4]  # what this run has written is not driven out
    assert len(files_in(tmp_path)) == 5
    assert write_big(tmp_path, [9], 51_000)  # the same process: nothing may go
    new_process()
    assert not write_big(tmp_path, [9], 51_000)
    new_process()
    assert write_big(tmp_path, [10], 5_000)  # no eviction makes room for more than the limit
    assert len(stored(tmp_path, range(20))) == 5


def test_full_store_still_reads_and_ignores_puts(tmp_path):
    store = FeatureStore(tmp_path, SPEC, 25_000)
    for number in range(5):
        store.put(digest(number), big(number))
    assert store.full
    assert absent(store, range(5), ["out"]) == [2, 3, 4]
    assert {p.suffix for p in files_in(tmp_path)} == {".safetensors"}


def test_files_of_the_former_layout_count_and_go_first(tmp_path, new_process):
    write_big(tmp_path, range(2), None)
    folder = tmp_path / "features" / spec_hash(SPEC)
    (folder / "shards").mkdir()
    for name in ("shards/1-2-3.bin", "index.sqlite"):
        (folder / name).write_bytes(bytes(10_000))
        os.utime(folder / name, (1000, 1000))
    (info,) = cache_info(tmp_path)
    assert (info.images, info.former_bytes) == (2, 20_000)
    new_process()
    assert not write_big(tmp_path, [2, 3], 45_000)
    assert stored(tmp_path, range(4)) == [0, 1, 2, 3]
    assert cache_info(tmp_path)[0].former_bytes == 0


def test_what_another_process_uses_meanwhile_stays(tmp_path, new_process):
    write_big(tmp_path, range(4), None)
    new_process()
    store = FeatureStore(tmp_path, SPEC, 51_000)
    store.put(digest(10), big(10))
    os.utime(file_for(tmp_path, 0))
    store.put(digest(11), big(11))
    store.put(digest(12), big(12))
    assert not store.full
    assert stored(tmp_path, range(20)) == [0, 3, 10, 11, 12]


@posix_only
def test_evicted_while_in_use_elsewhere(tmp_path, new_process):
    write_big(tmp_path, range(3), None)
    reader = FeatureStore(tmp_path, SPEC, None)
    held = reader.get(digest(0), ["out"])["out"]
    new_process()
    assert not write_big(tmp_path, [50, 51, 52], 32_000, SPEC | {"size": 1})
    assert bits(held) == bits(big(0)["out"])
    assert reader.get(digest(1), ["out"]) is None
    assert cache_info(tmp_path)[0].images + cache_info(tmp_path)[1].images == 3


def test_info_and_clear(tmp_path, new_process):
    other = SPEC | {"size": 224, "backbone": "other"}
    assert cache_info(tmp_path / "nothing") == []
    assert clear_cache(tmp_path / "nothing") == 0
    fill(tmp_path, range(5))
    fill(tmp_path, range(2), spec=other)
    (tmp_path / "features" / "not-a-spec").mkdir()
    infos = {info.backbone: info for info in cache_info(tmp_path)}
    assert set(infos) == {"vit", "other"}
    assert infos["vit"].spec == SPEC
    assert (infos["vit"].images, infos["vit"].layers, infos["vit"].size) == (5, ("cls", "out"), 448)
    assert abs(infos["vit"].last_used - time.time()) < 60
    folder = tmp_path / "features" / spec_hash(SPEC)
    assert infos["vit"].bytes == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    with pytest.raises(UsageError, match="no features of spec 0000"):
        clear_cache(tmp_path, "0000")
    with pytest.raises(UsageError):
        clear_cache(tmp_path, "../features/" + spec_hash(SPEC))
    assert clear_cache(tmp_path, spec_hash(SPEC)) == infos["vit"].bytes
    assert not folder.exists()
    assert clear_cache(tmp_path) > 0
    assert cache_info(tmp_path) == []


@posix_only
def test_cleared_while_in_use(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    fill(tmp_path, range(4))
    store = FeatureStore(tmp_path, SPEC, None)
    held = store.get(digest(0), ["out"])["out"]
    store.put(digest(10), features(10))
    clear_cache(tmp_path)
    for number in range(11, 20):
        store.put(digest(number), features(number))
    assert np.array_equal(held, features(0)["out"])
    assert store.get(digest(3), ["out"]) is None
    assert not store.full
    assert caplog.records == []
    assert all(same(FeatureStore(tmp_path, SPEC, None), number) for number in range(11, 20))
    assert cache_info(tmp_path)[0].spec == SPEC
