"""Fixtures: real photographs, the offline backbone, a private database and FiftyOne.

Everything a test process writes lies in one temporary folder that is removed at the end; servers listen on
free ports of 127.0.0.1 and are stopped. What cannot run here skips, and says why.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import ROOT, Port, spawn, wait_until_ready
from tests.stores import store

__all__ = ["store"]

REPOSITORY = Path(__file__).resolve().parent.parent
MONGO_PORT = Port()

# FiftyOne reads all of this when it is first imported. The database is named by its URI: a directory
# (FIFTYONE_DATABASE_DIR) is ignored where a developer's own FiftyOne already runs, and the tests would then
# write into that person's datasets.
assert "fiftyone" not in sys.modules, "import fiftyone inside tests and fixtures, never before this file"
os.environ.update(
    FIFTYONE_DATABASE_URI=f"mongodb://127.0.0.1:{MONGO_PORT.number}",
    FIFTYONE_DATABASE_NAME="pseudomask_test",
    FIFTYONE_DATABASE_VALIDATION="false",  # no message that the MongoDB release is an old one
    FIFTYONE_CONFIG_PATH=str(ROOT / "config.json"),
    FIFTYONE_APP_CONFIG_PATH=str(ROOT / "app_config.json"),
    FIFTYONE_DEFAULT_DATASET_DIR=str(ROOT / "datasets"),
    FIFTYONE_PLUGINS_DIR=str(ROOT / "plugins"),
    FIFTYONE_DO_NOT_TRACK="true",
    FIFTYONE_SHOW_PROGRESS_BARS="false",
    FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS="true",  # the App offers "Schedule"
    PSEUDOMASK_CACHE=str(ROOT / "cache"),
    HF_HUB_OFFLINE="1",  # the same weights with and without a network
    OMP_WAIT_POLICY="PASSIVE",  # threads that spin while waiting crawl where others use the cores too
)

# Side by side, each test process has its share of the cores; libraries read this at their first import.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

# A shell starts what runs in its background with Ctrl-C ignored, and programs inherit that: the tests of
# Ctrl-C would then send it to processes that never hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _link_plugin() -> None:
    (ROOT / "plugins").mkdir()
    (ROOT / "plugins" / "pseudomask").symlink_to(REPOSITORY, target_is_directory=True)


_link_plugin()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Give all tests of one file, which share what it makes, to one process; and so those of the App."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "tests/app" if nodeid.startswith("tests/app/") else super()._split_scope(nodeid)

    return Scheduling(config, log)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests of the App."""
    if item.path.is_relative_to(REPOSITORY / "tests" / "app"):
        item.add_marker("app")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest begin first: the App, then files with slow tests, then all others."""
    first = {"app": 0, "slow": 1}
    rank: dict[Path, int] = {}
    for item in items:
        place = min((first.get(mark.name, 2) for mark in item.iter_markers()), default=2)
        rank[item.path] = min(place, rank.get(item.path, 2))
    items.sort(key=lambda item: rank[item.path])


# --- data ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Data sets with ground truth: ``$PSEUDOMASK_DATA``, or ``shared/data`` beside the checkout."""
    folder = Path(os.environ.get("PSEUDOMASK_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}; name their folder in PSEUDOMASK_DATA")
    return folder


@pytest.fixture(scope="session")
def photos() -> Path:
    """A folder of seven real photographs, six JPEG and a grey PNG, in five sizes; copy it to change it."""
    from PIL import Image
    from skimage import data
    from sklearn.datasets import load_sample_image

    folder = ROOT / "photos"
    folder.mkdir()
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        Image.fromarray(getattr(data, name)()).save(folder / f"{name}.jpg", quality=95)
    for name in ("china", "flower"):
        Image.fromarray(load_sample_image(f"{name}.jpg")).save(folder / f"{name}.jpg", quality=95)
    Image.fromarray(data.camera()).save(folder / "camera.png")
    return folder


@pytest.fixture(scope="session")
def backbone():
    """The offline checkpoint, on the device a run would choose; float32, as the documented figures are."""
    from fiftyone_plugin.common.paths import cache_dir
    from fiftyone_plugin.errors import MissingDependencyError
    from fiftyone_plugin.features.backbones import OFFLINE_BACKBONE, load_backbone

    try:
        return load_backbone(OFFLINE_BACKBONE, cache_dir=cache_dir(), precision="float32")
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tiny_weights() -> str:
    """A weights file of a small ViT with random weights: for what must work whatever the features are."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = ROOT / "tiny.safetensors"
    save_file(timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict(), str(path))
    return str(path)


@pytest.fixture
def fast(tiny_weights) -> dict:
    """Settings of a run that takes no time; what comes out means nothing."""
    return {
        "method": "lightcluster",
        "size": 96,
        "classes": 3,
        "refine": "none",
        "jobs": 1,
        "backbone": tiny_weights,
    }


# --- packaging ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def source_tree() -> Path:
    """A copy of what a distribution is built from, so that building leaves nothing in the checkout."""
    copy = ROOT / "source"
    copy.mkdir()
    for path in REPOSITORY.iterdir():
        if path.is_file():
            shutil.copy2(path, copy)
        elif path.name in {"benchmarks", "docs", "fiftyone_plugin", "operators", "scripts", "tests"}:
            shutil.copytree(path, copy / path.name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="session")
def build(source_tree) -> Callable[..., Path]:
    """``build(kind, source)`` runs setuptools' ``build_<kind>`` hook, as pip does, and returns the file."""

    def build(kind: str, source: Path = source_tree) -> Path:
        out = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=ROOT))
        code = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
        command = [sys.executable, "-c", code, f"build_{kind}", str(out)]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        (file,) = out.iterdir()
        return file

    return build


@pytest.fixture(scope="session")
def wheel(build) -> Path:
    """A wheel of the tree under test."""
    return build("wheel")


# --- FiftyOne --------------------------------------------------------------------------------------


def _find_mongod() -> Path:
    from fiftyone_plugin.cli.doctor import probe_mongod

    named, on_path = os.environ.get("MONGOD"), shutil.which("mongod")
    problems = []
    for path in (Path(named) if named else None, None, Path(on_path) if on_path else None):
        found = probe_mongod(path)
        if found.path and not found.problem:
            return found.path
        if found.path:
            problems.append(f"{found.path}: {found.problem}")
    reason = "; ".join(problems) or "none found"
    pytest.skip(f"no mongod that starts ({reason}): run scripts/install_optional.py, or set MONGOD")


@pytest.fixture(scope="session")
def mongo() -> str:
    """The URI of this session's own database server."""
    executable = _find_mongod()
    (ROOT / "db").mkdir()
    options = {
        "dbpath": ROOT / "db",
        "port": MONGO_PORT.release(),
        "bind_ip": "127.0.0.1",
        "wiredTigerCacheSizeGB": 0.5,
    }
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    process = spawn([str(executable), "--nounixsocket", *arguments], "mongod.log")
    address = ("127.0.0.1", MONGO_PORT.number)
    wait_until_ready(process, "mongod.log", lambda: socket.create_connection(address, 0.2).close(), 120)
    return os.environ["FIFTYONE_DATABASE_URI"]


@pytest.fixture(scope="session")
def fo(mongo):
    """FiftyOne, with a database behind it."""
    import fiftyone

    return fiftyone


@pytest.fixture
def ontology(fo):
    """The name of an ontology, which is deleted afterwards."""
    name = f"ontology-{uuid.uuid4().hex[:8]}"
    yield name
    for each in (name, f"{name}-classes"):
        if fo.ontology_exists(each):
            fo.delete_ontology(each, force=True)


@pytest.fixture
def dataset(fo, photos):
    """A fresh dataset of the photographs, by file name; deleted afterwards."""
    dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    dataset.add_samples([fo.Sample(filepath=str(path)) for path in sorted(photos.iterdir())])
    yield dataset
    if fo.dataset_exists(dataset.name):
        fo.delete_dataset(dataset.name)


@pytest.fixture(scope="session")
def finished_runs(backbone, photos):
    """Two finished runs on the photographs: LightCluster with four classes, and Mosaic with three."""
    from fiftyone_plugin import label

    settings = {"size": 140, "refine": "none", "backbone": "offline-vits14", "jobs": 1}
    return [
        label(photos, out=ROOT / f"run-{method}", method=method, classes=classes, **settings)
        for method, classes in (("lightcluster", 4), ("mosaic", 3))
    ]


@pytest.fixture
def fill(dataset, finished_runs, tmp_path):
    """``fill(field, number, images)`` writes a finished run to the dataset, as if it had just ended.

    The masks are a copy, of the first ``images`` photographs; tests that need runs, and not the way to them,
    are spared seconds of it.
    """
    from dataclasses import replace

    from fiftyone_plugin.dataset.claiming import claim
    from fiftyone_plugin.dataset.labelling import write_result
    from fiftyone_plugin.images.listing import list_view
    from fiftyone_plugin.runs.samples import total_areas

    def fill(field: str, number: int = 0, images: int = 7) -> None:
        entries = list_view(dataset.limit(images))
        run = finished_runs[number]
        keys = {entry.item.key for entry in entries}
        rows = [row for row in run.samples if row.image in keys]
        counts = {"images": len(rows), "labelled": len(rows), "skipped": 0}
        areas = {str(id_): share for id_, share in total_areas(rows).items()}
        document = {**run.run, "counts": counts, "areas": areas}
        result = replace(run, out=tmp_path / field, samples=rows, run=document)
        record, _ = claim(dataset, field, result.out, overwrite=False, restart=False)
        shutil.copytree(run.out, result.out)
        write_result(dataset, record, result, entries)

    return fill
