"""A Ray cluster of three nodes on this machine, which listens on loopback and ends with the tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import ROOT

# Ray reads this when it is imported
os.environ.update(
    RAY_worker_niceness="0",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # bind to loopback
    RAY_DEDUP_LOGS_SKIP_REGEX=".*",
    RAY_TMPDIR=str(ROOT),  # logs and sockets go when the tests end
)

#: In every Python process that starts with it on its path: to open a file of this name ends the process
HOOK = """
import os, sys
def end(event, args):
    if event == "open" and str(args[0]).endswith("poison.jpg"):
        os._exit(9)
sys.addaudithook(end)
"""


@pytest.fixture(autouse=True)
def own_handler(cluster_handler) -> Iterator[None]:
    """Each node that a test adds brings a handler of SIGTERM, for the whole process."""
    yield
    signal.signal(signal.SIGTERM, cluster_handler)


@pytest.fixture(scope="package")
def cluster_handler() -> object:
    """What SIGTERM does before a cluster starts."""
    return signal.getsignal(signal.SIGTERM)


@pytest.fixture(scope="package")
def cluster(cluster_handler, tmp_path_factory) -> Iterator[object]:
    """Three nodes of one core each."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray>=2.60'")
    from ray.cluster_utils import Cluster

    hook = tmp_path_factory.mktemp("hook")
    (hook / "sitecustomize.py").write_text(HOOK)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(hook), *([before] if before else [])])
    found = Cluster()
    try:
        for _ in range(3):
            found.add_node(num_cpus=1, include_dashboard=False)
        yield found
    finally:
        found.shutdown()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="package")
def pictures(tmp_path_factory) -> Path:
    """Twenty-four small pictures."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(24):
        blocks = np.kron(rng.integers(0, 255, (4, 5, 3), dtype=np.uint8), np.ones((20, 20, 1), np.uint8))
        Image.fromarray(blocks).save(folder / f"{number:02d}.jpg")
    return folder


@pytest.fixture(scope="package")
def tiny(tiny_weights) -> dict:
    """Settings of a run that takes seconds."""
    return {
        "backbone": tiny_weights, "size": 96, "classes": 4, "fit_images": 12, "jobs": 1,
        "device": "cpu", "precision": "float32", "options": {"tiles": 2},
    }  # fmt: skip
