"""Interrupted, killed, damaged: what is whole is kept, what is not is made again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.features.store import FeatureStore

from .store_helpers import SPEC, absent, digest, features, file_for, files_in, fill, posix_only, same


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, GeneratorExit])
def test_exceptions_keep_whole_images(tmp_path, error, monkeypatch):
    fill(tmp_path, range(5))
    store = FeatureStore(tmp_path, SPEC, None)

    def interrupted(path):
        assert path.stat().st_size
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(os, "utime", interrupted)
        with pytest.raises(error):
            store.put(digest(5), features(5))
    assert all(same(store, number) for number in range(5))
    assert absent(store, range(6)) == [5]
    assert len(files_in(tmp_path)) == 5
    store.put(digest(5), features(5))
    assert same(store, 5)


@posix_only
def test_interrupts_at_any_moment(tmp_path):
    """A timer raises KeyboardInterrupt wherever the store happens to be: in a write, a rename, a look."""

    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    rng, put, complete = random.Random(0), 0, []
    try:
        for _ in range(40):
            store = FeatureStore(tmp_path, SPEC, None)
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0005, 0.03))
                for _ in range(500):  # an interrupt within a garbage collection is swallowed by Python
                    store.put(digest(put), features(put))
                    complete.append(put)
                    put += 1
            except KeyboardInterrupt:
                pass
            signal.setitimer(signal.ITIMER_REAL, 0)
            put += 1
            assert not store.full
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert len(complete) > 60
    store = FeatureStore(tmp_path, SPEC, None)
    assert all(same(store, number) for number in complete)
    stored = [number for number in range(put) if store.has(digest(number), ["out"])]
    assert all(same(store, number) for number in stored)


CHILD = """
import hashlib, os, sys, time
sys.path.insert(0, sys.argv[2])
import numpy as np
from fiftyone_plugin.features.store import FeatureStore
store = FeatureStore(sys.argv[1], {spec!r}, None)
for number in range(9):
    rng = np.random.default_rng(number)
    arrays = {{"out": rng.standard_normal((7, 5)).astype(np.float16), "cls": rng.random(6, np.float32)}}
    if number == 8:
        def slow(path):
            print("ready", flush=True)
            time.sleep(100)
        os.utime = slow
    store.put(hashlib.sha256(str(number).encode()).hexdigest(), arrays)
"""


@posix_only
def test_killed_writer(tmp_path):
    """What it was writing is not there; once that is old, whoever measures the cache removes it."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", CHILD.format(spec=SPEC), str(tmp_path), str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "ready\n"
        finally:
            child.kill()
    store = FeatureStore(tmp_path, SPEC, None)
    assert all(same(store, number) for number in range(8))
    assert absent(store, range(10)) == [8, 9]
    (partial,) = (path for path in files_in(tmp_path) if path.suffix == ".partial")
    fill(tmp_path, [8], limit=10**9)
    assert partial.is_file()  # its writer may still live
    os.utime(partial, (time.time() - 7200,) * 2)
    fill(tmp_path, [9], limit=10**9)
    assert not partial.exists()
    assert absent(store, range(10)) == []


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "lost"])
def test_damaged_and_lost_files(tmp_path, caplog, damage):
    fill(tmp_path, range(4))
    store = FeatureStore(tmp_path, SPEC, None)
    assert same(store, 1)
    path = file_for(tmp_path, 1)
    content = path.read_bytes()
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:-1], "empty": b"", "noise": os.urandom(len(content))}[damage])
    assert store.get(digest(1), ["out", "cls"]) is None
    assert len(caplog.records) == (damage != "lost")
    assert not path.exists()
    assert absent(store, range(4)) == [1]
    assert all(same(store, number) for number in (0, 2, 3))
    store.put(digest(1), features(1))
    assert same(store, 1)


def test_every_flipped_byte_is_found(tmp_path, caplog):
    fill(tmp_path, [2])
    path = file_for(tmp_path, 2)
    content = path.read_bytes()
    for place in range(len(content)):
        body = bytearray(content)
        body[place] ^= 0x40
        path.write_bytes(body)
        found = FeatureStore(tmp_path, SPEC, None).get(digest(2), ["out", "cls"])
        assert found is None or all(np.array_equal(found[k], v) for k, v in features(2).items()), place
    assert "is damaged" in caplog.text
    store = FeatureStore(tmp_path, SPEC, None)
    store.put(digest(2), features(2))
    assert same(store, 2)


def test_layers_beside_a_damaged_one_are_made_again(tmp_path):
    fill(tmp_path, [2])
    body = bytearray(file_for(tmp_path, 2).read_bytes())
    body[body.index(features(2)["out"].tobytes()) + 11] ^= 0x40
    file_for(tmp_path, 2).write_bytes(body)
    store = FeatureStore(tmp_path, SPEC, None)
    store.put(digest(2), {"t3": np.ones(3)})
    assert store.get(digest(2), ["t3"])["t3"].tolist() == [1, 1, 1]
    store.put(digest(2), features(2))
    assert same(store, 2)
    assert store.has(digest(2), ["t3", "out", "cls"])


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
        FeatureStore(cache, {"a": 1}, None).put("0" * 64, {"cls": np.arange(3.0)})
        for folder, _, names in os.walk(cache, topdown=False):
            for name in names:
                os.chmod(os.path.join(folder, name), 0o444)
            os.chmod(folder, 0o555)
        if os.geteuid() == 0:
            os.setuid(65534)
        store = FeatureStore(cache, {"a": 1}, None)
        store.put("1" * 64, {"cls": np.arange(3.0)})
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
