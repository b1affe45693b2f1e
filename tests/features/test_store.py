from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import mmap
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.features import shards as shards_module
from fiftyone_plugin.features.store import FeatureStore, Recovered, cache_info, clear_cache, spec_hash

SPEC = {"backbone": "vit", "weights_sha256": "ab" * 32, "precision": "float32", "size": 448}
posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and limits")


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def features(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    return {"out": rng.standard_normal((7, 5)).astype(np.float16), "cls": rng.random(6, np.float32)}


def same(store: FeatureStore, number: int) -> bool:
    found = store.get(digest(number), ["out", "cls"])
    return found is not None and all(np.array_equal(found[k], v) for k, v in features(number).items())


def fill(cache: Path, numbers, per_shard: int = 4, spec=SPEC, limit: int | None = None) -> None:
    with FeatureStore(cache, spec, limit) as store, store.writer(per_shard) as writer:
        for number in numbers:
            writer.put(digest(number), features(number))


def shard_files(cache: Path, spec=SPEC) -> list[Path]:
    return sorted((cache / "features" / spec_hash(spec) / "shards").iterdir())


def bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


@pytest.fixture
def new_process(monkeypatch):
    """What this process has used is forgotten, as if another had written what is there."""

    def forget() -> None:
        monkeypatch.setattr(shards_module, "_used", set())

    forget()
    return forget


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_was_put_comes_back_bit_equal(tmp_path, data):
    dtypes = st.sampled_from(["<f2", "<f4", "|u1", ">f4", "<f8", "<i4", "<i8", "|b1", ">u2"])
    shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)
    arrays = hnp.arrays(dtypes.map(np.dtype), shapes)
    images = data.draw(
        st.lists(st.dictionaries(st.sampled_from(["out", "t3", "é/x y"]), arrays, min_size=1), max_size=6)
    )
    folder = tmp_path / os.urandom(4).hex()
    with FeatureStore(folder, SPEC, None) as store:
        with store.writer(data.draw(st.integers(1, 4))) as writer:
            for number, layers in enumerate(images):
                writer.put(digest(number), {k: v[::-1] if v.ndim else v for k, v in layers.items()})
        for number, layers in enumerate(images):
            found = store.get(digest(number), list(layers))
            assert list(found) == list(layers)
            for name, expected in layers.items():
                expected = expected[::-1] if expected.ndim else expected
                assert found[name].shape == expected.shape
                assert found[name].dtype == expected.dtype.newbyteorder("<")
                assert bits(found[name]) == bits(expected.astype(found[name].dtype))
                assert not found[name].flags.writeable


def test_arrays_are_aligned_views_of_a_memory_map(tmp_path):
    fill(tmp_path, range(3))
    with FeatureStore(tmp_path, SPEC, None) as store:
        array = store.get(digest(1), ["cls"])["cls"]
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base.obj if isinstance(base, memoryview) else base, mmap.mmap)
    assert array.ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    assert np.array_equal(array, features(1)["cls"])  # still valid though the store is closed


def test_layout_on_disk(tmp_path):
    fill(tmp_path, range(6), per_shard=4)
    canonical = json.dumps(SPEC, sort_keys=True, separators=(",", ":")).encode()
    folder = tmp_path / "features" / hashlib.sha256(canonical).hexdigest()[:16]
    assert json.loads((folder / "spec.json").read_text()) == SPEC
    assert spec_hash(dict(reversed(SPEC.items()))) == folder.name
    assert [p.suffix for p in shard_files(tmp_path)] == [".bin"] * 2
    with contextlib.closing(sqlite3.connect(folder / "index.sqlite")) as db:
        assert db.execute("SELECT COUNT(*) FROM arrays").fetchone() == (12,)


def test_get_has_missing(tmp_path):
    with FeatureStore(tmp_path, SPEC, None) as store:
        with store.writer() as writer:
            for number in range(5):
                writer.put(digest(number), features(number))
            writer.put(digest(9), {"cls": features(9)["cls"]})
        assert all(same(store, number) for number in range(5))
        assert store.get(digest(9), ["cls", "out"]) is None
        assert list(store.get(digest(9), ["cls"])) == ["cls"]
        assert list(store.get(digest(1), ["cls", "out"])) == ["cls", "out"]
        assert store.get(digest(77), ["out"]) is None
        assert store.has(digest(0), ["out", "cls"])
        assert store.has(digest(0), ["out", "out"])
        assert not store.has(digest(9), ["out", "cls"])
        order = [9, 77, 0, 9, 4, 50]
        assert store.missing(map(digest, order), ["out", "cls"]) == [digest(n) for n in (9, 77, 50)]
        assert store.missing([], ["out"]) == []


def test_missing_in_bulk(tmp_path, monkeypatch):
    """Many batches, with the same digest in several of them."""
    monkeypatch.setattr("fiftyone_plugin.features.store.DIGESTS_PER_BATCH", 7)
    monkeypatch.setattr("fiftyone_plugin.features.index.DIGESTS_PER_QUERY", 3)
    with FeatureStore(tmp_path, SPEC, None) as store:
        with store.writer() as writer:
            for number in range(0, 100, 2):
                writer.put(digest(number), {"out": features(number)["out"]})
            for number in range(0, 100, 4):
                writer.put(digest(number), features(number))
        asked = [n % 100 for n in range(250)]
        expected = [digest(n) for n in range(100) if n % 4]
        assert store.missing((digest(n) for n in asked), ["out", "cls"]) == expected
        assert store.missing((digest(n) for n in asked), ["out"]) == [digest(n) for n in range(1, 100, 2)]


def test_putting_again_changes_nothing(tmp_path):
    with FeatureStore(tmp_path, SPEC, None) as store:
        with store.writer() as writer:
            writer.put(digest(0), {"out": features(0)["out"]})
            writer.put(digest(0), {"out": np.zeros(3, np.uint8)})
        with store.writer() as writer:
            writer.put(digest(0), {"out": np.zeros(3, np.uint8)})
        assert len(shard_files(tmp_path)) == 1
        with store.writer() as writer:
            writer.put(digest(0), features(0) | {"out": np.zeros(3, np.uint8)})
        assert same(store, 0)
        assert len(shard_files(tmp_path)) == 2


def test_only_numbers(tmp_path):
    with FeatureStore(tmp_path, SPEC, None) as store, store.writer() as writer:
        writer.put(digest(0), features(0))
        for bad in (np.array(["text"]), np.array([None]), np.zeros(2, complex)):
            with pytest.raises(UsageError, match="feature store holds numbers"):
                writer.put(digest(1), features(1) | {"bad": bad})
        writer.put(digest(2), features(2))
    with FeatureStore(tmp_path, SPEC, None) as store:
        assert same(store, 0)
        assert not store.has(digest(1), ["out"])
        assert same(store, 2)


def test_specs_are_apart(tmp_path):
    other = SPEC | {"size": 224}
    fill(tmp_path, [1])
    with FeatureStore(tmp_path, other, None) as store:
        assert store.get(digest(1), ["out"]) is None


def test_shards_end_at_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr("fiftyone_plugin.features.store.BYTES_PER_SHARD", 4096)
    with FeatureStore(tmp_path, SPEC, None) as store, store.writer(1000) as writer:
        for number in range(10):
            writer.put(digest(number), {"out": np.zeros(1024, np.uint8)})
            assert len([p for p in shard_files(tmp_path) if p.suffix == ".bin"]) == (number + 1) // 4
    assert sum(p.stat().st_size for p in shard_files(tmp_path)) == 10 * 1024


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, GeneratorExit])
def test_exceptions_keep_whole_images(tmp_path, error):
    class Interrupting(dict):
        def items(self):
            yield "out", np.ones(100, np.float32)
            raise error

    def write(store: FeatureStore) -> None:
        with store.writer() as writer:
            for number in range(5):
                writer.put(digest(number), features(number))
            writer._shard.append(digest(5), Interrupting())

    with FeatureStore(tmp_path, SPEC, None) as store, pytest.raises(error):
        write(store)
    assert [p.suffix for p in shard_files(tmp_path)] == [".bin"]
    with FeatureStore(tmp_path, SPEC, None) as store:
        assert store.recovered == Recovered()
        assert all(same(store, number) for number in range(5))
        assert not store.has(digest(5), ["out"])


@posix_only
def test_interrupts_at_any_moment(tmp_path):
    """A timer raises KeyboardInterrupt wherever the writer happens to be: in a write, an fsync, a commit."""

    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    rng, put = random.Random(0), 0
    try:
        for _ in range(40):
            with FeatureStore(tmp_path, SPEC, None) as store:
                complete = []
                try:
                    with store.writer(3) as writer:
                        signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0005, 0.03))
                        for _ in range(
                            500
                        ):  # an interrupt within a garbage collection is swallowed by Python
                            writer.put(digest(put), features(put))
                            complete.append(put)
                            put += 1
                except KeyboardInterrupt:
                    pass
                signal.setitimer(signal.ITIMER_REAL, 0)
                lost = [number for number in complete if not same(store, number)]
                # only an interrupt within the commit itself may cost images: those of that shard
                assert len(lost) <= 3
                put += 1
                assert not store.full
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert put > 100
    with FeatureStore(tmp_path, SPEC, None) as store:
        stored = [number for number in range(put) if store.has(digest(number), ["out"])]
        assert len(stored) > put - 90
        assert all(same(store, number) for number in stored)
        assert {p.suffix for p in shard_files(tmp_path)} == {".bin"}


CHILD = """
import sys, time
sys.path.insert(0, sys.argv[2])
import numpy as np
from fiftyone_plugin.features.store import FeatureStore
import hashlib
store = FeatureStore(sys.argv[1], {spec!r}, None)
writer = store.writer(4)
for number in range(10):
    rng = np.random.default_rng(number)
    arrays = {{"out": rng.standard_normal((7, 5)).astype(np.float16), "cls": rng.random(6, np.float32)}}
    writer.put(hashlib.sha256(str(number).encode()).hexdigest(), arrays)
print("ready", flush=True)
time.sleep(100)
"""


@posix_only
def test_killed_writer(tmp_path, caplog):
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", CHILD.format(spec=SPEC), str(tmp_path), str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "ready\n"
            suffixes = [p.suffix for p in shard_files(tmp_path)]
            assert sorted(suffixes) == [".bin", ".bin", ".partial"]
            with FeatureStore(tmp_path, SPEC, None) as store:  # the writer lives: its file is left alone
                assert store.recovered == Recovered()
                assert all(same(store, number) for number in range(8))
            assert len(shard_files(tmp_path)) == 3
        finally:
            child.kill()
    with FeatureStore(tmp_path, SPEC, None) as store:
        assert store.recovered == Recovered(unfinished=1)
        assert [p.suffix for p in shard_files(tmp_path)] == [".bin", ".bin"]
        assert all(same(store, number) for number in range(8))
        assert store.missing(map(digest, range(10)), ["out", "cls"]) == [digest(8), digest(9)]
    assert "removed 1 unfinished, 0 unknown and 0 damaged shards" in caplog.text
    assert len(caplog.records) == 1
    fill(tmp_path, range(10))
    with FeatureStore(tmp_path, SPEC, None) as store:
        assert all(same(store, number) for number in range(10))


def test_truncated_lost_and_unknown_shards(tmp_path, caplog):
    fill(tmp_path, range(12), per_shard=4)
    first, second, third = shard_files(tmp_path)
    with open(first, "r+b") as file:
        file.truncate(first.stat().st_size - 1)
    second.unlink()
    stray = third.with_name("0-0-stray.bin")
    stray.write_bytes(b"finished, but its rows were never committed")
    with FeatureStore(tmp_path, SPEC, None) as store:
        assert store.recovered == Recovered(unknown=1, damaged=2, arrays=16)
        assert shard_files(tmp_path) == [third]
        assert store.missing(map(digest, range(12)), ["out"]) == [digest(n) for n in range(8)]
        assert all(same(store, number) for number in range(8, 12))
    assert len(caplog.records) == 1
    fill(tmp_path, range(12))
    with FeatureStore(tmp_path, SPEC, None) as store:
        assert store.recovered == Recovered()
        assert all(same(store, number) for number in range(12))


def test_flipped_byte(tmp_path, caplog):
    fill(tmp_path, range(8), per_shard=4)
    damaged = shard_files(tmp_path)[0]
    body = bytearray(damaged.read_bytes())
    place = body.index(features(2)["out"].tobytes())
    body[place + 11] ^= 0x40
    damaged.write_bytes(body)
    with FeatureStore(tmp_path, SPEC, None) as store:
        assert store.recovered == Recovered()
        assert store.get(digest(2), ["out"]) is None
        assert "layer out of image" in caplog.text
        assert "is damaged" in caplog.text
        assert np.array_equal(store.get(digest(2), ["cls"])["cls"], features(2)["cls"])
        assert store.missing(map(digest, range(8)), ["out", "cls"]) == [digest(2)]
        assert all(same(store, number) for number in range(8) if number != 2)
        with store.writer() as writer:
            writer.put(digest(2), features(2))
        assert same(store, 2)
    assert len(caplog.records) == 1


@posix_only
def test_shard_lost_or_cut_while_open(tmp_path, caplog):
    fill(tmp_path, range(12), per_shard=4)
    with FeatureStore(tmp_path, SPEC, None) as store:
        first, second, _ = shard_files(tmp_path)
        first.unlink()
        second.write_bytes(b"")
        assert [same(store, number) for number in (0, 4, 8)] == [False, False, True]
        assert store.missing(map(digest, range(12)), ["out"]) == [digest(n) for n in range(8)]
        with store.writer() as writer:
            for number in range(8):
                writer.put(digest(number), features(number))
        assert all(same(store, number) for number in range(12))


@pytest.mark.parametrize("damage", ["noise", "version", "cut"])
def test_unusable_index_starts_afresh(tmp_path, caplog, damage):
    fill(tmp_path, range(300), per_shard=100)
    path = tmp_path / "features" / spec_hash(SPEC) / "index.sqlite"
    if damage == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(9000))
    elif damage == "version":
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version=99")
        db.close()
    else:
        path.write_bytes(path.read_bytes()[:5000])
    with FeatureStore(tmp_path, SPEC, None) as store:
        assert not store.has(digest(0), ["out"])
        assert [p.suffix for p in shard_files(tmp_path)] == []
        with store.writer() as writer:
            writer.put(digest(0), features(0))
        assert same(store, 0)
    assert "starting afresh" in caplog.text
    assert json.loads(path.with_name("spec.json").read_text()) == SPEC


def test_index_that_fails_while_open_does_not_end_the_run(tmp_path, caplog):
    fill(tmp_path, range(4))
    store = FeatureStore(tmp_path, SPEC, None)
    with sqlite3.connect(store.path / "index.sqlite") as db:
        db.execute("DROP TABLE arrays")
    db.close()
    assert store.get(digest(0), ["out"]) is None
    assert store.missing([digest(0)], ["out"]) == [digest(0)]
    with store.writer() as writer:
        writer.put(digest(5), features(5))
    assert store.full
    assert "pseudomask cache clear" in caplog.text
    assert len(caplog.records) == 1
    store.close()


def test_unusable_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot use the feature cache .*PSEUDOMASK_CACHE"):
        FeatureStore(tmp_path / "file", SPEC, None)


def big(number: int) -> dict[str, np.ndarray]:
    return {"out": np.random.default_rng(number).integers(0, 256, 10_000, np.uint8)}


def write_big(cache: Path, numbers, limit: int | None, spec=SPEC) -> bool:
    with FeatureStore(cache, spec, limit) as store:
        with store.writer(1) as writer:
            for number in numbers:
                writer.put(digest(number), big(number))
        return store.full


def stored(cache: Path, numbers, spec=SPEC) -> list[int]:
    with FeatureStore(cache, spec, None) as store:
        return [
            n
            for n in numbers
            if (found := store.get(digest(n), ["out"])) and bits(found["out"]) == bits(big(n)["out"])
        ]


def shard_of(cache: Path, number: int, spec=SPEC) -> Path:
    return next(p for p in shard_files(cache, spec) if big(number)["out"].tobytes() in p.read_bytes())


def test_limit_evicts_least_recently_used_of_all_specs(tmp_path, new_process):
    other = SPEC | {"size": 224}
    write_big(tmp_path, range(3), None)
    write_big(tmp_path, range(10, 13), None, other)
    for age, (number, spec) in enumerate(
        [(11, other), (2, SPEC), (0, SPEC), (12, other), (1, SPEC), (10, other)]
    ):
        os.utime(shard_of(tmp_path, number, spec), (1000 + age, 1000 + age))
    new_process()
    # 60 kB are there: room for one more under 70 kB, then three of the oldest have to go
    assert not write_big(tmp_path, range(20, 24), 70_000)
    new_process()
    assert stored(tmp_path, range(30)) == [1, 20, 21, 22, 23]
    assert stored(tmp_path, range(30), other) == [10, 12]
    infos = {info.spec_hash: info for info in cache_info(tmp_path)}
    assert infos[spec_hash(other)].images == 2
    with FeatureStore(tmp_path, other, None) as store:
        assert store.recovered == Recovered()


def test_reading_makes_recently_used(tmp_path, new_process):
    write_big(tmp_path, range(3), None)
    for number in range(3):
        os.utime(shard_of(tmp_path, number), (1000 + number, 1000 + number))
    new_process()
    assert stored(tmp_path, [0]) == [0]
    assert shard_of(tmp_path, 0).stat().st_mtime > time.time() - 60
    new_process()
    with FeatureStore(tmp_path, SPEC, None) as store:
        assert store.has(digest(1), ["out"])
    new_process()
    assert not write_big(tmp_path, [20], 30_000)
    assert stored(tmp_path, range(30)) == [0, 1, 20]


def test_full(tmp_path, new_process, caplog):
    assert write_big(tmp_path, range(8), 50_000)
    assert len(caplog.records) == 1
    assert "the limit of 0.0 GB is reached" in caplog.text
    assert stored(tmp_path, range(8)) == [0, 1, 2, 3, 4]  # what this run has written is not driven out
    assert len(shard_files(tmp_path)) == 5
    assert write_big(tmp_path, [9], 50_000)  # the same process: nothing may go
    new_process()
    assert not write_big(tmp_path, [9], 50_000)
    new_process()
    assert write_big(tmp_path, [10], 5_000)  # no eviction makes room for more than the limit
    assert len(stored(tmp_path, range(20))) == 5


def test_full_store_still_reads_and_ignores_puts(tmp_path):
    with FeatureStore(tmp_path, SPEC, 25_000) as store, store.writer(1) as writer:
        for number in range(5):
            writer.put(digest(number), big(number))
        assert store.full
        assert store.missing(map(digest, range(5)), ["out"]) == [digest(n) for n in (2, 3, 4)]
        assert {p.suffix for p in shard_files(tmp_path)} == {".bin"}


@posix_only
def test_evicted_while_mapped_elsewhere(tmp_path, new_process):
    write_big(tmp_path, range(3), None)
    with FeatureStore(tmp_path, SPEC, None) as reader:
        held = reader.get(digest(0), ["out"])["out"]
        new_process()
        assert not write_big(tmp_path, [50, 51, 52], 30_000, SPEC | {"size": 1})
        assert bits(held) == bits(big(0)["out"])
        assert reader.get(digest(1), ["out"]) is None
        assert cache_info(tmp_path)[0].images + cache_info(tmp_path)[1].images == 3


SPAWNED = """
import hashlib, time
import numpy as np
from fiftyone_plugin.features.store import FeatureStore
with FeatureStore(cache, spec, None) as store, store.writer(3) as writer:
    while time.time() < start:
        pass
    for number in numbers:
        rng = np.random.default_rng(number)
        arrays = {"out": rng.standard_normal((7, 5)).astype(np.float16), "cls": rng.random(6, np.float32)}
        writer.put(hashlib.sha256(str(number).encode()).hexdigest(), arrays)
assert not store.full
"""


def test_two_processes_and_reading_threads(tmp_path):
    context = multiprocessing.get_context("spawn")
    start = time.time() + 1.5
    orders = [list(range(120)), list(range(60, 180))]
    children = [
        context.Process(
            target=exec,
            args=(SPAWNED, {"cache": str(tmp_path), "spec": SPEC, "numbers": numbers, "start": start}),
        )
        for numbers in orders
    ]
    for child in children:
        child.start()
    wrong, stop = [], threading.Event()
    with FeatureStore(tmp_path, SPEC, None) as store:

        def read(seed: int) -> int:
            rng, hits = random.Random(seed), 0
            while not stop.is_set():
                number = rng.randrange(180)
                if store.has(digest(number), ["out", "cls"]):
                    hits += 1
                    if not same(store, number):
                        wrong.append(number)
                time.sleep(0.001)
            return hits

        with ThreadPoolExecutor(4) as pool:
            readers = [pool.submit(read, seed) for seed in range(4)]
            for child in children:
                child.join(60)
            stop.set()
            assert all(reader.result() > 0 for reader in readers)
        assert [child.exitcode for child in children] == [0, 0]
        assert not wrong
        assert not store.full
        assert all(same(store, number) for number in range(180))
        assert cache_info(tmp_path)[0].images == 180
    with FeatureStore(tmp_path, SPEC, None) as store:
        assert store.recovered == Recovered()


def test_stores_opened_at_the_same_moment(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: FeatureStore(tmp_path, SPEC, None), range(8)))

        def put(pair) -> None:
            number, store = pair
            with store.writer(2) as writer:
                for image in range(number, number + 6):
                    writer.put(digest(image), features(image))

        list(pool.map(put, enumerate(stores)))
    assert all(same(store, number) for store in stores for number in range(13))
    for store in stores:
        store.close()


def test_threads_share_a_writer(tmp_path):
    with FeatureStore(tmp_path, SPEC, None) as store:
        with store.writer(5) as writer, ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: writer.put(digest(n % 40), features(n % 40)), range(120)))
        assert all(same(store, number) for number in range(40))


DISK_FULL = """
import resource, sys, logging
sys.path.insert(0, sys.argv[2])
import numpy as np
from fiftyone_plugin.features.store import FeatureStore
logging.basicConfig(format="LOG %(message)s")
store = FeatureStore(sys.argv[1], {"backbone": "b"}, None)
with store.writer(2) as writer:
    for number in range(2):
        writer.put(str(number), {"out": np.full(400_000, number, np.uint8)})
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    for number in range(2, 9):
        writer.put(str(number), {"out": np.full(600_000, number, np.uint8)})
print(store.full, store.missing([str(n) for n in range(9)], ["out"]), store.get("1", ["out"])["out"].mean())
"""


@posix_only
def test_write_error_stops_storing_only(tmp_path):
    """A limit of the kernel on file sizes makes write() fail with OSError, as a full disk does."""
    command = [sys.executable, "-c", DISK_FULL, str(tmp_path), str(Path(__file__).parents[2])]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.stdout == "True ['2', '3', '4', '5', '6', '7', '8'] 1.0\n", run.stderr
    assert run.stderr.count("LOG") == 1
    assert "nothing more is stored" in run.stderr
    assert "the run goes on" in run.stderr
    assert [p.suffix for p in shard_files(tmp_path, {"backbone": "b"})] == [".bin"]


def test_memory_does_not_grow_with_images(tmp_path):
    layer = {"out": np.zeros(10, np.float16)}
    with FeatureStore(tmp_path, SPEC, None) as store, store.writer(500) as writer:

        def work(numbers: range) -> None:
            for number in numbers:
                writer.put(digest(number), layer)
            writer.flush()
            for number in numbers:
                store.get(digest(number), ["out"])

        work(range(500))
        tracemalloc.start()
        try:
            work(range(500, 1000))
            before = tracemalloc.get_traced_memory()[0]
            work(range(1000, 5000))
            growth = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
    assert growth < 4000 * 4  # bytes; an entry in any dict or set would take over 100 an image


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
    with FeatureStore(tmp_path, SPEC, None) as store:
        held = store.get(digest(0), ["out"])["out"]
        with store.writer(2) as writer:
            writer.put(digest(10), features(10))
            clear_cache(tmp_path)
            for number in range(11, 20):
                writer.put(digest(number), features(number))
            assert np.array_equal(held, features(0)["out"])
            store._maps.clear()
            assert store.get(digest(3), ["out"]) is None
        assert store.full
    assert len(caplog.records) == 1
    fill(tmp_path, range(4))
    with FeatureStore(tmp_path, SPEC, None) as store:
        assert same(store, 3)
