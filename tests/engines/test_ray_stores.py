"""Workers of a cluster of this machine that read images from a store, and write the run into it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fiftyone_plugin import label
from tests.runs.run_helpers import files, masks_of, table_of
from tests.stores import Store

pytestmark = pytest.mark.slow

MODEL = ("arrays.safetensors", "method.json", "pipeline.json")
WORKERS = ["--engine", "ray", "--workers", "2", "--cpus-per-worker", "1"]
SETTINGS = ["--size", "96", "--classes", "4", "--device", "cpu", "--precision", "float32"]


def test_images_and_run_are_in_a_store(store: Store, pictures, tiny_weights, tmp_path):
    """Every worker has its own disk to put a run together on; none of them is the run's."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray>=2.60'")
    store.put_folder(pictures, "in")
    settings = {"size": 96, "classes": 4, "device": "cpu", "precision": "float32"}
    near = label(pictures, out=tmp_path / "near", backbone=tiny_weights, **settings).out
    command = [sys.executable, "-m", "fiftyone_plugin", "label", "s3://data/in", "--out", "s3://data/run"]
    command += [*WORKERS, *SETTINGS, "--backbone", str(tiny_weights)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert set(store.keys("run")) == files(near)
    far = tmp_path / "far"
    for name in store.keys("run"):
        (far / name).parent.mkdir(parents=True, exist_ok=True)
        (far / name).write_bytes(store.get(f"run/{name}"))
    assert masks_of(far) == masks_of(near)
    assert without_stamps(far) == without_stamps(near)
    assert [(far / "model" / name).read_bytes() for name in MODEL] == [
        (near / "model" / name).read_bytes() for name in MODEL
    ]


def without_stamps(run) -> list[dict]:
    """The table of a run; the stamp of an image in a store is another one than that of a file."""
    return [{**row, "stamp": ""} for row in table_of(run)]
