"""Interrupted, killed, damaged: what is whole is kept, what is not is made again."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.features.store import FeatureStore, Recovered, spec_hash

from .store_helpers import SPEC, digest, features, fill, posix_only, same, shard_files


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


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_cache_that_cannot_be_written_is_read():
    """By a user to whom it is closed: what is there is read, with one warning, and nothing is stored."""
    code = textwrap.dedent("""
        import os, sys, logging
        import numpy as np
        from fiftyone_plugin.features.store import FeatureStore, cannot_be_written
        from fiftyone_plugin.errors import UsageError
        logging.basicConfig(format="%(message)s")
        cache = sys.argv[1]
        with FeatureStore(cache, {"a": 1}, None) as store, store.writer() as writer:
            writer.put("0" * 64, {"cls": np.arange(3.0)})
        for folder, _, names in os.walk(cache, topdown=False):
            for name in names:
                os.chmod(os.path.join(folder, name), 0o444)
            os.chmod(folder, 0o555)
        if os.geteuid() == 0:
            os.setuid(65534)
        store = FeatureStore(cache, {"a": 1}, None)
        with store.writer() as writer:
            writer.put("1" * 64, {"cls": np.arange(3.0)})
        print(store.full, store.has("0" * 64, ["cls"]), store.get("0" * 64, ["cls"])["cls"].tolist())
        print(store.has("1" * 64, ["cls"]))
        try:
            FeatureStore(cache, {"a": 2}, None)
        except UsageError as error:
            print(cannot_be_written(error.__cause__))
        for folder, _, _ in os.walk(cache):
            if os.geteuid() == os.stat(folder).st_uid:
                os.chmod(folder, 0o755)
    """)
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        os.chmod(folder, 0o755)
        done = subprocess.run(
            [sys.executable, "-c", code, os.path.join(folder, "cache")], capture_output=True, text=True
        )
    assert done.stdout.splitlines() == ["True True [0.0, 1.0, 2.0]", "False", "True"], done.stderr
    assert done.stderr.count("nothing more is stored") == 1
