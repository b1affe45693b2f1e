"""Folders of strangers: every command answers in one line, in time, and touches nobody else's files."""

from __future__ import annotations

import random
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin import label
from fiftyone_plugin.cli.main import main
from fiftyone_plugin.errors import PseudoMaskError
from fiftyone_plugin.runs.calibration import QualityCalibration
from fiftyone_plugin.runs.folder import RunDirectory

from .crafted_copies import Workshop
from .crafted_runs import Crafted, crafted_inputs

pytestmark = pytest.mark.slow

METHODS = {
    "lightcluster": {},
    "mosaic": {"head_patches": 500, "cue_regions": 4},
    "datus": {},
    "alignseg": {"steps": 2, "n_prototypes": 6, "crop_tokens": 4, "min_patches": 2},
}
EXIT_CODES = (0, 2, 3)
SECONDS = 60  # what a command may take at most; it takes one or two
SAMPLE = 16  # crafted inputs in a run of the whole test suite
ALL = crafted_inputs(METHODS)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Ten small pictures of a few surfaces, and masks of them in the folder beside."""
    folder = tmp_path_factory.mktemp("crafted") / "pictures"
    truth = folder.parent / "truth"
    folder.mkdir()
    truth.mkdir()
    rng = np.random.default_rng(0)
    for i in range(10):
        mask = np.ones((48, 64), np.uint8)
        mask[: int(rng.integers(8, 40)), : int(rng.integers(8, 56))] = 2
        colours = np.array([[0, 0, 0], [200, 60, 40], [40, 90, 200]])
        pixels = np.clip(colours[mask] + rng.normal(0, 25, (48, 64, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"p{i}.png")
        Image.fromarray(mask).save(truth / f"p{i}.png")
    return folder


@pytest.fixture(scope="module")
def runs(pictures, tiny_weights) -> dict[str, Path]:
    """A finished run of every method."""
    settings = {"size": 96, "classes": 3, "refine": "none", "jobs": 1, "cache": False}
    return {
        method: label(
            pictures,
            out=pictures.parent / f"run-{method}",
            method=method,
            backbone=tiny_weights,
            options=options,
            **settings,
        ).out
        for method, options in METHODS.items()
    }


@pytest.fixture
def tried(tmp_path, runs, pictures, tiny_weights):
    """``tried(crafted)`` runs the commands that read a crafted input and returns what is wrong, in words."""
    workshop = Workshop(tmp_path / "workshop", runs)
    fast = ["--method", "lightcluster", "--size", "96", "--classes", "3", "--refine", "none", "--jobs", "1"]
    fast += ["--backbone", tiny_weights, "--no-cache", "-q"]
    images, run, new = str(pictures), str(workshop.run), str(workshop.root / "new")
    model = ["label", images, "--out", new, "--model", f"{run}/model", "--jobs", "1", "--no-cache", "-q"]
    commands = {
        "restart": ["label", images, "--out", run, "--restart", *fast],
        "resume": ["label", images, "--out", run, "--resume", *fast],
        "export": ["export", run, "--format", "masks", "--out", new, "--overwrite", "--jobs", "1", "-q"],
        "compare": ["compare", run, str(runs["datus"])],
        "calibrate": ["evaluate", run, str(pictures.parent / "truth"), "--calibrate"],
        "label": model,
        "recut": [*model, "--recut", "2"],
        "dry-run": [*model, "--dry-run"],
        "explain": ["explain", f"{images}/p0.png", "--model", f"{run}/model", "--out", f"{new}.png", "-q"],
    }

    def perform(command: str) -> int:
        if command == "undo":
            directory = RunDirectory(workshop.run)
            directory.remove_outputs()
            directory.remove_if_empty()
        elif command == "calibration":
            QualityCalibration.load(workshop.run / "calibration.json")
        else:
            shutil.rmtree(new, ignore_errors=True)
            return main(commands[command])
        return 0

    def tried(crafted: Crafted) -> list[str]:
        wrong = []
        for command in crafted.commands:
            workshop.prepare(crafted)
            try:
                with limited(SECONDS):
                    code = perform(command)
                if code not in EXIT_CODES:
                    wrong.append(f"exit code {code}")
            except PseudoMaskError:
                pass
            except Exception as error:
                wrong.append(f"{command}: {type(error).__name__}: {str(error)[:200]}")
            wrong += [f"{command}: {what}" for what in workshop.damage()]
        return [f"{crafted.name}: {what}" for what in wrong]

    return tried


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """End what hangs, where the system has alarms."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"still at work after {seconds} s")

    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_there_are_enough_of_them_and_all_are_different():
    assert len(ALL) >= 200
    assert len({crafted.name for crafted in ALL}) == len(ALL)


def test_what_strangers_craft_harms_nothing(tried, capsys):
    """Some of them, others each time; the seed is in the output of a failure."""
    seed = random.SystemRandom().randrange(10**6)
    some = random.Random(seed).sample(ALL, SAMPLE)
    wrong = [what for crafted in some for what in tried(crafted)]
    output = capsys.readouterr()
    assert not wrong, f"seed {seed}:\n" + "\n".join(wrong)
    assert "Traceback" not in output.out + output.err
    assert "\x1b" not in output.out + output.err


@pytest.mark.soak
@pytest.mark.parametrize("crafted", ALL, ids=lambda crafted: crafted.name)
def test_every_crafted_input_harms_nothing(tried, crafted, capsys):
    assert tried(crafted) == []
    output = capsys.readouterr()
    assert "Traceback" not in output.out + output.err
