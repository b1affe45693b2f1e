"""The dense CRF on images whose truth is known, and without its package."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from fiftyone_plugin.errors import MissingDependencyError
from fiftyone_plugin.masks.refine import DenseCRF, crf_available, resize_scores

needs_crf = pytest.mark.skipif(not crf_available(), reason="pydensecrf is not installed")


def two_colours(side: int = 96, noise: float = 4.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A disc on a ground of another colour, and where the disc is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    truth = (y - side * 0.45) ** 2 + (x - side * 0.55) ** 2 < (0.3 * side) ** 2
    colour = np.where(truth[..., None], (190, 60, 50), (60, 90, 170))
    return (colour + noise * rng.normal(size=(side, side, 3))).clip(0, 255).astype(np.uint8), truth


def patch_scores(truth: np.ndarray, grid: int = 12, flipped: float = 0.0, seed: int = 0) -> np.ndarray:
    """Coarse (2, grid, grid) scores of the truth, some patches wrong."""
    foreground = resize_scores(truth[None].astype(np.float32), grid, grid)[0] * 0.8 + 0.1
    wrong = np.random.default_rng(seed).random((grid, grid)) < flipped
    foreground = np.where(wrong, 1 - foreground, foreground)
    return np.stack([1 - foreground, foreground]).astype(np.float32)


def accuracy(marginals: np.ndarray, truth: np.ndarray) -> float:
    full = resize_scores(marginals, *truth.shape)
    return float((full.argmax(0) == truth).mean())


@needs_crf
@pytest.mark.parametrize(("grid", "flipped"), [(6, 0.0), (12, 0.08)])
def test_improves_coarse_and_noisy_scores(grid, flipped):
    image, truth = two_colours()
    scores = patch_scores(truth, grid=grid, flipped=flipped)
    before = accuracy(resize_scores(scores, *truth.shape), truth)
    converged = accuracy(DenseCRF(n_iter=10)(scores, image), truth)
    default = accuracy(DenseCRF()(scores, image), truth)  # fewer iterations leave some of the noise
    assert before < 0.985
    assert converged > 0.995
    assert 1 - default < (1 - before) / 2


@needs_crf
def test_improves_outlines_in_photos(data_dir):
    """Ground truth brought down to 16 x 16 patches and back up again, with and without the colours."""
    from fiftyone_plugin.images.reading import read_image

    folder = data_dir / "ecssd"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    before, after = [], []
    for photo in sorted((folder / "images").glob("*.jpg"))[:100:10]:
        image = read_image(photo)
        truth = read_image(folder / "masks" / f"{photo.stem}.png")[..., 0] > 127
        scores = patch_scores(truth, grid=16)
        before.append(accuracy(resize_scores(scores, *truth.shape), truth))
        after.append(accuracy(DenseCRF()(scores, image), truth))
    assert len(before) == 10
    assert np.mean(after) > np.mean(before)


@needs_crf
@pytest.mark.parametrize("labels", [2, 3, 7])
def test_marginals_are_probabilities(labels):
    image, _ = two_colours(side=50)
    scores = np.random.default_rng(0).dirichlet(np.ones(labels), size=(6, 6)).transpose(2, 0, 1)
    for given in (
        scores,
        np.eye(labels, dtype=np.float32)[:, :, None].repeat(3, 2),
    ):  # also with exact 0 and 1
        marginals = DenseCRF()(given, image)
        assert marginals.shape == (labels, 50, 50)
        assert marginals.dtype == np.float32
        assert np.isfinite(marginals).all()
        assert marginals.min() >= 0
        np.testing.assert_allclose(marginals.sum(0), 1, atol=1e-5)


@needs_crf
def test_inputs_are_left_alone_and_results_repeat():
    image, truth = two_colours(side=40)
    image.flags.writeable = False
    scores = patch_scores(truth)
    before = scores.copy()
    first, second = DenseCRF()(scores, image), DenseCRF()(scores, image)
    np.testing.assert_array_equal(scores, before)
    assert first.tobytes() == second.tobytes()


@needs_crf
def test_order_of_labels_does_not_matter():
    image, truth = two_colours(side=40)
    scores = patch_scores(truth, flipped=0.1)
    np.testing.assert_allclose(DenseCRF()(scores[::-1], image)[::-1], DenseCRF()(scores, image), atol=1e-4)


def test_a_single_label_passes_through():
    image, _ = two_colours(side=30)
    found = DenseCRF()(np.full((1, 4, 4), 0.3, np.float32), image)
    np.testing.assert_array_equal(found, np.ones((1, 30, 30), np.float32))


@needs_crf
@pytest.mark.parametrize(
    ("shape", "working"),
    [
        ((1, 1), (1, 1)), ((1, 2), (1, 2)), ((3, 1), (3, 1)), ((20, 30_000), (1, 240)),
        ((480, 640), (180, 240)), ((640, 480), (240, 180)), ((240, 200), (240, 200)), ((33, 21), (33, 21)),
    ],
)  # fmt: skip
def test_working_resolution(shape, working):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    marginals = DenseCRF()(np.full((2, 5, 5), 0.5, np.float32), image)
    assert marginals.shape == (2, *working)
    np.testing.assert_allclose(marginals.sum(0), 1, atol=1e-5)


@needs_crf
def test_native_resolution_on_demand():
    image, truth = two_colours(side=400)
    assert DenseCRF(max_side=None, n_iter=1)(patch_scores(truth), image).shape == (2, 400, 400)


def test_travels_into_worker_processes():
    assert pickle.loads(pickle.dumps(DenseCRF(n_iter=3))) == DenseCRF(n_iter=3)


def test_without_the_package_the_message_says_how_to_get_it():
    """In a process where the package cannot be imported, as on a machine without a compiler."""
    code = """
import sys
sys.modules["pydensecrf"] = None
import numpy as np
from fiftyone_plugin.errors import MissingDependencyError
from fiftyone_plugin.masks.refine import DenseCRF, crf_available
assert not crf_available()
image = np.zeros((8, 8, 3), np.uint8)
assert DenseCRF()(np.ones((1, 2, 2)), image).shape == (1, 8, 8)  # one label needs no package
try:
    DenseCRF()(np.full((2, 2, 2), 0.5), image)
except MissingDependencyError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "fiftyone-pseudomask[crf]" in done.stdout
    assert issubclass(MissingDependencyError, ImportError)
