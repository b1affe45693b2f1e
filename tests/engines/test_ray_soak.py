"""Whole runs on a real cluster that go wrong: the driver killed, disks that are not shared."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fiftyone_plugin import label
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.runs.config import LabelConfig
from fiftyone_plugin.runs.labelling import LabelWork
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
def near(images, tiny, tmp_path_factory):
    return label(images, out=tmp_path_factory.mktemp("near") / "run", **tiny)


@pytest.fixture
def far(cluster) -> dict:
    return {"engine": "ray", "address": cluster.address, "cpus_per_worker": 1}


def test_the_driver_is_killed_and_the_run_goes_on(images, tiny, near, far, tmp_path):
    out = tmp_path / "run"
    code = f"from fiftyone_plugin import label; label({str(images)!r}, out={str(out)!r}, **{tiny | far!r})"
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 400
    while driver.poll() is None and time.monotonic() < deadline:
        if (
            len(list((out / "masks").glob("*.png")) if (out / "masks").is_dir() else []) >= 160
        ):  # three chunks are 120
            driver.kill()
        time.sleep(0.02)
    assert driver.wait() == -9, driver.stdout.read()
    before = {path: path.stat().st_mtime_ns for path in (out / "masks").glob("*.png")}
    assert 160 <= len(before) < 240
    result = label(images, out=out, resume=True, **tiny, **far)
    assert masks_of(out) == masks_of(near.out)
    assert table_of(out) == table_of(near.out)
    assert len(result.labelled) == 240
    assert result.run["work"]["images"] < 240
    assert not list(out.rglob("*.partial"))


def test_a_folder_that_is_not_the_runs_is_refused(images, near, tmp_path):
    """What a worker says that does not share the disk: there is no run, or another one."""
    work = LabelWork(LabelConfig(), str(tmp_path / "run"), "0" * 32, tmp_path, 1, "")
    with pytest.raises(UsageError, match=r"does not see the run in .*all machines share"):
        work.open()
    with pytest.raises(UsageError, match=r"does not see the run in .*or another one there"):
        replace(work, root=near.out).open()
    there = replace(work, root=near.out, run_id=near.run["run_id"])
    with pytest.raises(UsageError, match=r"does not see the image .*all machines share"):
        replace(there, example=str(tmp_path / "gone.jpg")).open()
