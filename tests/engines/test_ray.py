"""Work on a real cluster of three nodes: who dies, what is refused, and the same bytes as without."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import threading
import time

import psutil
import pytest

from fiftyone_plugin import evaluate, export, label
from fiftyone_plugin.common.progress import CallbackProgress
from fiftyone_plugin.engines import ray_pool
from fiftyone_plugin.engines.base import Lost, Needs
from fiftyone_plugin.engines.registry import create_engine
from fiftyone_plugin.errors import PseudoMaskError, UsageError
from tests.engines.works import DISK, Hungry, Refuses, Squares, Writes
from tests.runs.run_helpers import masks_of, table_of

pytestmark = pytest.mark.slow


def engine(cluster, workers: int = 2, **needs):
    return create_engine("ray", address=cluster.address, needs=Needs(workers, 1, 0.0, **needs))


def workers_of_mine() -> list[psutil.Process]:
    """The workers of the clusters that this process has started."""

    def is_one(process: psutil.Process) -> bool:
        try:
            return process.is_running() and "PseudoMaskWorker" in " ".join(process.cmdline())
        except psutil.NoSuchProcess:  # it has ended in between, and may wait to be collected
            return False

    return [p for p in psutil.Process().children(recursive=True) if is_one(p)]


def test_the_work_is_done_once_whoever_dies(cluster):
    with engine(cluster) as ray:
        assert list(ray.gather(Squares(), range(50), 7)) == [n * n for n in range(50)]
        found = list(ray.gather(Squares(killers=(3, 40)), range(50), 7))
        assert [n * n for n in range(50) if n not in (3, 40)] == [x for x in found if not isinstance(x, Lost)]
        assert [found[n].item for n in (3, 40)] == [3, 40]
        assert re.fullmatch(
            r"the worker that had it died each time, 4 times: .*process \d+.*", found[3].reason
        )
        threading.Timer(1.0, lambda: os.kill(workers_of_mine()[0].pid, signal.SIGKILL)).start()
        assert sorted(ray.map(Squares(seconds=0.05), range(60), 5)) == [n * n for n in range(60)]
        found = list(ray.gather(Hungry(11), range(20), 5))
        assert [n for n in range(20) if n != 11] == [x for x in found if not isinstance(x, Lost)]
        assert "memory ran short on" in found[11].reason
    _, alive = psutil.wait_procs(workers_of_mine(), timeout=30)
    assert alive == []


def test_an_item_at_which_every_worker_hangs_is_given_up(cluster, monkeypatch):
    monkeypatch.setattr(ray_pool, "HANG_S", 2.0)
    with engine(cluster) as ray:
        found = list(ray.gather(Squares(hangers=(5,)), range(12), 3))
    assert [n * n for n in range(12) if n != 5] == [x for x in found if not isinstance(x, Lost)]
    assert re.search(r"4 times: .*process \d+\) gave no answer for 2 s", found[5].reason)


@pytest.mark.parametrize(
    ("when", "kind", "text"),
    [
        ("opened", UsageError, r"the worker on \S+ \(process \d+\): this is not here; put it there"),
        ("begun", PseudoMaskError, r"the worker on \S+ \(process \d+\): this cannot be done"),
        ("bug", RuntimeError, r"(?s)the worker on .*Traceback.*ZeroDivisionError: a bug"),
    ],
)
def test_what_cannot_be_done_names_the_worker(cluster, when, kind, text):
    with engine(cluster) as ray, pytest.raises(kind, match=text):
        list(ray.map(Refuses(when), range(5), 2))


def test_another_version_of_a_package_is_refused(cluster):
    text = r"the worker on .* has pillow \d+.*, this process 0.1.*install"
    with engine(cluster, versions={"pillow": "0.1"}) as ray, pytest.raises(UsageError, match=text):
        list(ray.map(Squares(), range(5), 2))


def test_a_full_disk_on_one_node(cluster, tmp_path, caplog):
    """Its worker is given up, and what it had is done by others."""
    node = cluster.add_node(num_cpus=1, env_vars={DISK: "/dev/full"}, resources={"odd": 1})
    try:
        with engine(cluster, workers=4) as ray:
            assert sorted(ray.map(Writes(tmp_path), range(100), 2)) == list(range(100))
        assert {path.name for path in tmp_path.iterdir()} == {str(n) for n in range(100)}
        assert os.strerror(errno.ENOSPC) in caplog.text
    finally:
        cluster.remove_node(node)


@pytest.mark.soak
def test_a_node_goes_and_another_joins(cluster):
    """While the work is done, by as many workers as there is room for."""
    going, found = cluster.add_node(num_cpus=1), []
    with create_engine("ray", address=cluster.address, needs=Needs(None, 1, 0.0)) as ray:
        for square in ray.gather(Squares(seconds=0.03), range(600), 5):
            found.append(square)
            if len(found) == 100:
                assert ray.describe() == "4 workers"
                cluster.remove_node(going, allow_graceful=False)
            if len(found) == 200:
                cluster.add_node(num_cpus=1)
        assert ray.describe() == "4 workers"
    assert found == [n * n for n in range(600)]


def test_nobody_listens_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(UsageError, match=f"nobody listens at 127.0.0.1:{port}.*ray start --head"):
        create_engine("ray", address=f"127.0.0.1:{port}").__enter__()
    assert time.monotonic() - began < 30
    with pytest.raises(UsageError, match="HOST:PORT"):
        create_engine("ray", address="nowhere").__enter__()
    with pytest.raises(UsageError, match="--engine ray"):
        create_engine("local", address="127.0.0.1:6379")


@pytest.fixture(scope="module")
def near(pictures, tiny, tmp_path_factory):
    """A run without a cluster."""
    return label(pictures, out=tmp_path_factory.mktemp("near") / "run", **tiny)


def test_masks_are_the_same_as_without_a_cluster(cluster, pictures, tiny, near, tmp_path):
    """With features of the fit from workers, one of which is killed while masks are written."""
    far = {"engine": "ray", "address": cluster.address, "cpus_per_worker": 1, "workers": 2}
    killed = []

    def kill(stage, done, total):
        if stage == "masks" and done >= 6 and not killed:
            killed.append(workers_of_mine()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    result = label(pictures, out=tmp_path / "run", progress=CallbackProgress(kill, 0), **far, **tiny)
    assert killed
    assert masks_of(result.out) == masks_of(near.out)
    assert table_of(result.out) == table_of(near.out)
    for name in ("arrays.safetensors", "method.json", "pipeline.json"):
        assert (result.out / "model" / name).read_bytes() == (near.out / "model" / name).read_bytes()
    assert not (result.out / ".work").exists()
    far = {"engine": "ray", "address": cluster.address, "workers": 2}
    for form in ("masks", "voc", "coco-panoptic", "yolo", "coco-instances"):
        here = export(near.out, out=tmp_path / f"{form}-near", format=form)
        there = export(near.out, out=tmp_path / f"{form}-far", format=form, **far)
        assert {p.relative_to(there.out): p.read_bytes() for p in there.out.rglob("*.*")} == {
            p.relative_to(here.out): p.read_bytes() for p in here.out.rglob("*.*")
        }
    scores = [evaluate(near.out, near.out / "masks", **how).to_dict() for how in ({}, far)]
    assert scores[0] == scores[1]


@pytest.mark.soak
def test_an_image_that_kills_each_worker_is_skipped(cluster, pictures, tiny, near, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for path in pictures.iterdir():
        (images / path.name).symlink_to(path)
    (images / "poison.jpg").write_bytes((pictures / "00.jpg").read_bytes()[:-1] + b"x")
    far = {"engine": "ray", "address": cluster.address, "cpus_per_worker": 1, "workers": 2}
    result = label(images, out=tmp_path / "run", model=near.out / "model", jobs=1, device="cpu", **far)
    assert [row.image for row in result.skipped] == ["poison.jpg"]
    assert "died each time, 4 times" in result.skipped[0].error
    assert masks_of(result.out) == masks_of(near.out)
