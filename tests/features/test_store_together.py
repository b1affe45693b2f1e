"""Several processes and threads on one store, a full disk, memory."""

from __future__ import annotations

import multiprocessing
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fiftyone_plugin.features.cache import cache_info
from fiftyone_plugin.features.store import FeatureStore

from .store_helpers import SPEC, digest, features, files_in, posix_only, same

SPAWNED = """
import hashlib, time
import numpy as np
from fiftyone_plugin.features.store import FeatureStore
store = FeatureStore(cache, spec, None)
while time.time() < start:
    pass
for number in numbers:
    rng = np.random.default_rng(number)
    arrays = {"out": rng.standard_normal((7, 5)).astype(np.float16), "cls": rng.random(6, np.float32)}
    store.put(hashlib.sha256(str(number).encode()).hexdigest(), arrays)
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
    store = FeatureStore(tmp_path, SPEC, None)

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


def test_stores_opened_at_the_same_moment(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: FeatureStore(tmp_path, SPEC, None), range(8)))

        def put(pair) -> None:
            number, store = pair
            for image in range(number, number + 6):
                store.put(digest(image), features(image))

        list(pool.map(put, enumerate(stores)))
    assert all(same(store, number) for store in stores for number in range(13))


def test_threads_share_a_store(tmp_path):
    store = FeatureStore(tmp_path, SPEC, 10**9)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.put(digest(n % 40), features(n % 40)), range(120)))
    assert all(same(store, number) for number in range(40))
    assert not any(path.suffix == ".partial" for path in files_in(tmp_path))


DISK_FULL = """
import resource, sys, logging
sys.path.insert(0, sys.argv[2])
import numpy as np
from fiftyone_plugin.features.store import FeatureStore
logging.basicConfig(format="LOG %(message)s")
store = FeatureStore(sys.argv[1], {"backbone": "b"}, None)
for number in range(2):
    store.put(str(number), {"out": np.full(400_000, number, np.uint8)})
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
for number in range(2, 9):
    store.put(str(number), {"out": np.full(600_000, number, np.uint8)})
absent = [n for n in range(9) if not store.has(str(n), ["out"])]
print(store.full, absent, store.get("1", ["out"])["out"].mean())
"""


@posix_only
def test_write_error_stops_storing_only(tmp_path):
    """A limit of the kernel on file sizes makes write() fail with OSError, as a full disk does."""
    command = [sys.executable, "-c", DISK_FULL, str(tmp_path), str(Path(__file__).parents[2])]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.stdout == "True [2, 3, 4, 5, 6, 7, 8] 1.0\n", run.stderr
    assert run.stderr.count("LOG") == 1
    assert "nothing more is stored" in run.stderr
    assert "the run goes on" in run.stderr
    assert [p.suffix for p in files_in(tmp_path, {"backbone": "b"})] == [".safetensors"] * 2


GROWTH = """
import hashlib, pathlib, sys, tracemalloc
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[2])
from fiftyone_plugin.features.store import FeatureStore
store, layer = FeatureStore(Path(sys.argv[1]), {"backbone": "b"}, 10**9), {"out": np.zeros(10, np.float16)}
def work(numbers):
    for number in numbers:
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        store.put(digest, layer)
        store.get(digest, ["out"])
def held():  # without the table of interned names, which Python itself doubles now and then
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, pathlib.__file__)])
    return sum(trace.size for trace in snapshot.traces)
work(range(500))
tracemalloc.start()
work(range(500, 1000))
before = held()
work(range(1000, 5000))
print(held() - before)
"""


def test_memory_does_not_grow_with_images(tmp_path):
    """In a process of its own: other threads of this one take memory, too."""
    command = [sys.executable, "-c", GROWTH, str(tmp_path), str(Path(__file__).parents[2])]
    growth = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert growth < 4000 * 4  # bytes; an entry in any dict or set would take over 100 an image
