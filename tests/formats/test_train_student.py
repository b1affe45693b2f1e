"""The example that trains a segmenter on exported masks: it learns, and the same seed gives the same."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from fiftyone_plugin.formats import export

from .conftest import NAMES, read_folder

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "train_student.py"


@pytest.fixture(scope="module")
def student(levels, tiny_weights, tmp_path_factory):
    """``student(name, seed, epochs)`` runs the script and returns its masks and what it says."""
    folder = tmp_path_factory.mktemp("student")
    export(levels, out=folder / "train", format="ultralytics-semantic")

    def run(name, seed, epochs):
        words = [folder / "train", "--predict", levels / "images", "--out", folder / name, "--size", "112"]
        words += ["--backbone", tiny_weights, "--epochs", epochs, "--seed", seed]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["train_student.py", *map(str, words)])
            runpy.run_path(str(EXAMPLE), run_name="__main__")
        return read_folder(folder / name)

    return run


def test_it_learns_and_repeats(student, originals):
    masks = student("a", 0, 12)
    assert masks.keys() == originals.keys()
    known = [(masks[name][mask > 0], mask[mask > 0]) for name, mask in originals.items()]
    found, truth = (np.concatenate(side) for side in zip(*known, strict=True))
    assert set(np.unique(found)) <= set(map(int, NAMES))
    assert (found == truth).mean() > np.bincount(truth).max() / len(truth) + 0.05
    again = student("b", 0, 12)
    assert all(np.array_equal(again[name], mask) for name, mask in masks.items())
