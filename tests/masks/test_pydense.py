"""pydensecrf as a refiner, and without its package."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fiftyone_plugin.errors import MissingDependencyError

from .scenes import accuracy, patch_scores, refine_one, two_colours


@pytest.mark.parametrize(("grid", "flipped"), [(6, 0.0), (12, 0.08)])
def test_improves_coarse_and_noisy_scores(grid, flipped):
    pytest.importorskip("pydensecrf")
    from fiftyone_plugin.masks.pydense import PyDenseCRF

    image, truth = two_colours(side=240)
    scores = patch_scores(truth, grid=grid, flipped=flipped)
    before = accuracy(scores, truth)
    converged = accuracy(refine_one(PyDenseCRF(n_iter=10), scores, image), truth)
    default = accuracy(refine_one(PyDenseCRF(), scores, image), truth)  # fewer iterations leave some noise
    assert before < 0.985
    assert converged > 0.995
    assert 1 - default < (1 - before) / 2


def test_works_at_the_aspect_of_the_photograph():
    """A disc of the photograph stays one, though guide and result are squeezed."""
    pytest.importorskip("pydensecrf")
    from fiftyone_plugin.masks.pydense import PyDenseCRF

    square, truth = two_colours(side=300)
    image, truth = np.ascontiguousarray(square[50:250]), truth[50:250]
    scores = patch_scores(truth, grid=16)
    found = refine_one(PyDenseCRF(), scores, image)
    assert found.shape == (2, 240, 240)
    assert accuracy(found, truth) > max(0.99, accuracy(scores, truth))


def test_without_the_package_the_message_says_how_to_get_it():
    """In a process where the package cannot be imported, as on a machine without a compiler."""
    code = """
import sys
sys.modules["pydensecrf"] = None
from fiftyone_plugin.errors import MissingDependencyError
from fiftyone_plugin.masks.refine import create_refiner
create_refiner("crf"), create_refiner("none")
try:
    create_refiner("pydensecrf")
except MissingDependencyError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "fiftyone-pseudomask[crf]" in done.stdout
    assert issubclass(MissingDependencyError, ImportError)
