"""``pseudomask label`` killed, or refused by the disk, at its file operations; resumed, it ends the same.

A random sample of the moments; all of them with ``-m soak``.
"""

from __future__ import annotations

import csv
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent.parent
FAULTS = Path(__file__).with_name("faults.py")
METHODS = ("mosaic", "lightcluster", "datus", "alignseg")
FEW_STEPS = ["--set", "steps=4", "--set", "checkpoint_every=2", "--set", "batch_size=2"]
CODE = "import sys\nfrom fiftyone_plugin.cli.main import main\nsys.exit(main(sys.argv[1:]))\n"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="SIGKILL")]


@dataclass
class Labelling:
    """One method on three small images; the cache and the run lie below ``root``."""

    method: str
    root: Path
    weights: str
    operations: int = 0

    def run(self, *options: str, event: str = "kill", number: int = 0) -> subprocess.CompletedProcess[str]:
        argument = self.root.parent / f"code-{self.root.name}.py"
        flags = ["--method", self.method, "--size", "96", "--classes", "3", "--refine", "none", "--jobs", "1"]
        flags += ["--device", "cpu", "--backbone", self.weights, "--out", "run", "-q", *options]
        flags += FEW_STEPS if self.method == "alignseg" else []
        argument.write_text(f"import sys\nsys.argv = ['x', 'label', '../images', *{flags!r}]\n{CODE}")
        count = self.root.parent / f"count-{self.root.name}"
        done = subprocess.run(
            [sys.executable, str(FAULTS), event, str(number), str(self.root), str(count), str(argument)],
            cwd=self.root, capture_output=True, text=True, timeout=300,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PSEUDOMASK_CACHE": str(self.root / "cache")},
        )  # fmt: skip
        self.operations = int(count.read_text().split()[0])
        return done

    def results(self) -> dict[str, object]:
        """Masks and confidence maps, and the table without the time that it took."""
        run = self.root / "run"
        found: dict[str, object] = {
            path.relative_to(run).as_posix(): path.read_bytes()
            for folder in ("masks", "confidence")
            for path in (run / folder).rglob("*")
            if path.is_file()
        }
        with (run / "samples.csv").open(newline="") as file:
            found["samples.csv"] = [{**row, "seconds": ""} for row in csv.DictReader(file)]
        return found

    def stale(self) -> list[str]:
        """Files that no finished run has; what a kill leaves in the cache, its next user removes."""
        run = self.root / "run"
        names = [path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()]
        return [name for name in names if "partial" in name or name.startswith(".work")]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kills") / "images"
    folder.mkdir()
    for number in range(3):
        rng = np.random.default_rng(number)
        picture = np.full((48, 64, 3), rng.integers(0, 255, 3), np.uint8)
        picture[10:30, 12 + 6 * number : 44] = rng.integers(0, 255, 3)
        Image.fromarray(picture + rng.integers(0, 9, picture.shape, np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def undisturbed(images, tiny_weights):
    """``undisturbed(method)``: a run that nothing happened to, and its results; made once."""
    made: dict[str, tuple[Labelling, dict[str, object]]] = {}

    def run(method: str) -> tuple[Labelling, dict[str, object]]:
        if method not in made:
            root = images.parent / method
            root.mkdir()
            labelling = Labelling(method, root, tiny_weights)
            done = labelling.run()
            assert done.returncode == 0, done.stderr
            assert labelling.stale() == []
            made[method] = labelling, labelling.results()
        return made[method]

    return run


@pytest.fixture(scope="module")
def drawn() -> str:
    """One of the methods, the same for all kinds of events: what nothing happened to is labelled once."""
    return random.choice(METHODS)


@pytest.fixture
def fresh(images, tiny_weights):
    """``fresh(method)``: a folder of its own, removed at the end."""
    roots: list[Path] = []

    def make(method: str) -> Labelling:
        root = images.parent / f"{method}-{len(list(images.parent.iterdir()))}"
        root.mkdir()
        roots.append(root)
        return Labelling(method, root, tiny_weights)

    yield make
    for root in roots:
        shutil.rmtree(root)


def check(labelling: Labelling, event: str, number: int, expected: dict[str, object]) -> None:
    done = labelling.run(event=event, number=number)
    where = f"{labelling.method}, {event} at {number}: exit {done.returncode}, {done.stderr}"
    assert "Traceback" not in done.stderr, where
    if event == "kill":
        assert done.returncode in (0, -9), where
    elif event == "term":
        assert done.returncode in (0, 130), where
    else:
        assert done.returncode in (0, 2), where
        if done.returncode:
            lines = done.stderr.splitlines()  # warnings, of the cache for example, come before
            assert all(line.startswith("pseudomask: ") for line in lines), where
    again = labelling.run("--resume")
    assert again.returncode == 0, f"{where}; resumed: {again.stderr}"
    assert labelling.results() == expected, where
    assert labelling.stale() == [], where


@pytest.mark.parametrize("event", ["kill", "enospc", "term"])
def test_a_random_moment(undisturbed, fresh, drawn, event):
    labelling, expected = undisturbed(drawn)
    check(fresh(drawn), event, random.randint(1, labelling.operations), expected)


@pytest.mark.soak
@pytest.mark.parametrize("event", ["kill", "enospc", "eacces", "term"])
@pytest.mark.parametrize("method", METHODS)
def test_every_moment(undisturbed, fresh, method, event):
    labelling, expected = undisturbed(method)
    for number in range(1, labelling.operations + 1):
        check(fresh(method), event, number, expected)
