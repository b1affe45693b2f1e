"""Whole runs on a real cluster that go wrong: the driver killed, disks that are full or not shared."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fiftyone_plugin import label
from fiftyone_plugin.errors import PseudoMaskError, UsageError
from tests.runs.run_helpers import masks_of, table_of

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def images(pictures, tmp_path_factory) -> Path:
    """The pictures, ten times."""
    folder = tmp_path_factory.mktemp("many")
    for path in pictures.iterdir():
        for number in range(10):
            content = path.read_bytes() + bytes([number])
            (folder / f"{path.stem}-{number}.jpg").write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def settings(tiny_weights) -> dict:
    return {
        "backbone": tiny_weights, "size": 96, "classes": 4, "fit_images": 12, "jobs": 1,
        "device": "cpu", "precision": "float32",
    }  # fmt: skip


@pytest.fixture(scope="module")
def near(images, settings, tmp_path_factory):
    return label(images, out=tmp_path_factory.mktemp("near") / "run", **settings)


@pytest.fixture
def far(cluster) -> dict:
    return {"engine": "ray", "address": cluster.address, "cpus_per_worker": 1}


def test_the_driver_is_killed_and_the_run_goes_on(images, settings, near, far, tmp_path):
    out = tmp_path / "run"
    code = (
        f"from fiftyone_plugin import label; label({str(images)!r}, out={str(out)!r}, **{settings | far!r})"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while driver.poll() is None and time.monotonic() < deadline:
        if len(list((out / "masks").glob("*.png")) if (out / "masks").is_dir() else []) >= 60:
            driver.kill()
        time.sleep(0.02)
    assert driver.wait() == -9, driver.stdout.read()
    before = {path: path.stat().st_mtime_ns for path in (out / "masks").glob("*.png")}
    assert 60 <= len(before) < 240
    result = label(images, out=out, resume=True, **settings, **far)
    assert masks_of(out) == masks_of(near.out)
    assert table_of(out) == table_of(near.out)
    assert len(result.labelled) == 240
    assert result.run["work"]["images"] < 240
    assert not list(out.rglob("*.partial"))


def joined(cluster, before: str, ports: int) -> subprocess.Popen:
    """A node that joins from a mount namespace of its own, in which ``before`` was run."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"]).returncode:
        pytest.skip("no mount namespace may be made here")
    start = (
        f"{sys.executable} -m ray.scripts.scripts start --address={cluster.address} --num-cpus=1 --block "
        f"--disable-usage-stats --node-ip-address=127.0.0.1 --min-worker-port={ports} "
        f"--max-worker-port={ports + 99}"
    )
    return subprocess.Popen(
        ["unshare", "-m", "--kill-child", "sh", "-ec", f"{before}; {start}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def wait_for_nodes(cluster, count: int) -> None:
    import ray

    ray.init(cluster.address, log_to_driver=False)
    try:
        deadline = time.monotonic() + 60
        while sum(node["Alive"] for node in ray.nodes()) != count and time.monotonic() < deadline:
            time.sleep(0.2)
        assert sum(node["Alive"] for node in ray.nodes()) == count
    finally:
        ray.shutdown()


def test_a_machine_that_does_not_share_the_disk(cluster, images, settings, far, tmp_path):
    apart = tmp_path / "shared"
    apart.mkdir()
    node = joined(cluster, f"mount -t tmpfs none {apart}", 23000)
    try:
        wait_for_nodes(cluster, 4)
        with pytest.raises(
            UsageError, match=r"the worker on .* does not see the run in .*all machines share"
        ):
            label(images, out=apart / "run", workers=4, **settings, **far)
    finally:
        os.killpg(node.pid, 9)
        node.wait()
    wait_for_nodes(cluster, 3)


def test_a_full_disk_below_the_masks_of_one_machine(cluster, images, settings, near, far, tmp_path):
    """The masks' folder has no room there; the others write what that one could not."""
    masks = tmp_path / "run" / "masks"
    with pytest.raises(PseudoMaskError, match="stop"):
        label(images, out=masks.parent, progress=Stop(), **settings)
    masks.mkdir(exist_ok=True)
    node = joined(cluster, f"mount -t tmpfs -o size=4k,nr_inodes=2 none {masks}", 23200)
    try:
        wait_for_nodes(cluster, 4)
        result = label(images, out=masks.parent, resume=True, workers=4, **settings, **far)
    finally:
        os.killpg(node.pid, 9)
        node.wait()
    assert len(result.labelled) == 240
    assert masks_of(result.out) == masks_of(near.out)
    wait_for_nodes(cluster, 3)


class Stop:
    """Ends a run before its masks."""

    def stage(self, name, total=None, unit="img"):
        from fiftyone_plugin.common.progress import NullProgress

        if name == "masks":
            raise PseudoMaskError("stop")
        return NullProgress().stage(name, total, unit)
