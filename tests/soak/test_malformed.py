"""Malformed images and masks end in ImageReadError, or in what the docstrings of the readers say."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
SECONDS = 20  # for one file, all readers together, on a machine that others use too
MEMORY = 6 << 30  # bytes of address space, where the system can bound it

spec = importlib.util.spec_from_file_location("malformed", HERE / "malformed.py")
malformed = importlib.util.module_from_spec(spec)
spec.loader.exec_module(malformed)


def read_all(folder, timeout):
    """Read a folder in a process of its own, whose end (a signal, a hang) is a fault too."""

    def bounded():
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    done = subprocess.run(
        [sys.executable, str(HERE / "malformed.py"), str(folder)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=HERE.parents[1],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=bounded if sys.platform == "linux" else None,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    results = [line for line in lines if "begun" not in line]
    faults = [line for line in results if "fault" in line]
    if done.returncode or len(results) < len(list(folder.iterdir())):
        begun = lines[-1]["file"] if lines else "nothing"
        faults.append({"file": begun, "fault": f"ended with {done.returncode}: {done.stderr[-500:]}"})
    slow = [line["file"] for line in results if line.get("seconds", 0) > SECONDS]
    return results, faults, slow, done.stderr


def check(files, folder, timeout):
    for i, (name, data) in enumerate(files):
        (folder / f"{i:04d}-{name}").write_bytes(data)
    results, faults, slow, said = read_all(folder, timeout)
    assert faults == []
    assert slow == []
    assert said == ""  # decoders keep quiet
    return results


def test_some_malformed_files(tmp_path):
    every = list(malformed.malformed(1000))
    picks = np.random.default_rng(7).choice(len(every), 40, replace=False)
    results = check([every[i] for i in sorted(picks)], tmp_path, 120)
    assert len(results) == 40


def test_good_files_are_read(tmp_path):
    results = check(malformed.good().items(), tmp_path, 120)
    assert {line["image"] for line in results} == {"read"}
    refused = {line["file"].split("-", 1)[1] for line in results if line["any"] == "refused"}
    assert refused == {
        "photo.jpg", "progressive.jpg", "cmyk.jpg", "grey.jpg", "jpeg.tif", "float.tif", "cmyk.tif",
        "lossy.webp", "animated.webp", "indexed.gif", "animated.gif",
    }  # fmt: skip


@pytest.mark.soak
def test_a_thousand_malformed_files(tmp_path):
    results = check(malformed.malformed(1000), tmp_path, 1800)
    assert len(results) == 1000
    counts = {key: dict(Counter(line[key] for line in results)) for key in ("image", "ids", "any", "picture")}
    slowest = max(line["seconds"] for line in results)
    print(f"\n1000 files, 0 tracebacks, 0 hangs, slowest {slowest} s; {counts}")
