"""The mean field in torch against a slow one over all pairs of pixels, and against pydensecrf."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fiftyone_plugin.masks.meanfield import MeanField
from fiftyone_plugin.masks.upsample import resize_scores

from .scenes import accuracy, patch_scores, random_scores, refine_one, two_colours


def slow_mean_field(crf: MeanField, scores: np.ndarray, image: np.ndarray) -> np.ndarray:
    """All pairs of pixels of a square image, with the kernel in whose place the grids stand."""
    side, labels = crf.guide_side, len(scores)
    y, x = np.mgrid[:side, :side].reshape(2, -1)
    place = np.stack([y, x], 1) / (crf.bilateral_sxy * side)
    features = np.concatenate([place, image.reshape(-1, 3) / crf.bilateral_srgb], 1)
    apart = np.abs(features[:, None] - features[None]) / np.sqrt(6)
    kernel = np.clip(1 - apart, 0, None).prod(-1)
    weight = 1 / np.sqrt(kernel.sum(1))
    kernel *= weight[:, None] * weight
    prior = np.clip(resize_scores(scores, side, side), (1 - crf.confidence) / (labels - 1), crf.confidence)
    unary = np.log(prior / prior.sum(0))

    def softmax(energy):
        odds = np.exp(energy - energy.max(0))
        return odds / odds.sum(0)

    def smooth(maps):
        return np.stack([gaussian_filter(m, crf.gaussian_sxy, mode="constant", radius=3) for m in maps])

    beliefs, inside = softmax(unary), smooth(np.ones((1, side, side)))
    for _ in range(crf.n_iter):
        heard = (beliefs.reshape(labels, -1) @ kernel).reshape(beliefs.shape)
        near = smooth(beliefs) / inside
        beliefs = softmax(unary + crf.bilateral_compat * heard + crf.gaussian_compat * near)
    return beliefs


@pytest.mark.parametrize("labels", [2, 5])
def test_the_more_grids_the_nearer_to_all_pairs(labels):
    crf = MeanField(guide_side=24, bilateral_srgb=12.0)
    image, _ = two_colours(side=24, noise=20)
    scores = random_scores(labels, 6, 6)
    expected = slow_mean_field(crf, scores, image)
    errors = [
        np.abs(refine_one(MeanField(24, grids, bilateral_srgb=12.0), scores, image) - expected).mean()
        for grids in (4, 32, 512)
    ]
    assert errors[2] < 0.005
    assert errors[2] < errors[1] < errors[0]


def test_nearly_the_labels_of_pydensecrf():
    pytest.importorskip("pydensecrf")
    from fiftyone_plugin.masks.pydense import PyDenseCRF

    image, truth = two_colours(side=240, noise=8)
    scores = patch_scores(truth, grid=16)
    theirs = refine_one(PyDenseCRF(), scores, image)
    ours = refine_one(MeanField(guide_side=240, bilateral_sxy=67 / 640, bilateral_srgb=3.0), scores, image)
    coarse = resize_scores(scores, 240, 240)
    assert np.abs(ours - theirs).mean() < np.abs(coarse - theirs).mean() / 5
    assert (ours.argmax(0) == theirs.argmax(0)).mean() > 0.98


@pytest.mark.parametrize(("grid", "flipped"), [(6, 0.0), (12, 0.08)])
def test_improves_coarse_and_noisy_scores(grid, flipped):
    image, truth = two_colours(side=240)
    scores = patch_scores(truth, grid=grid, flipped=flipped)
    before = accuracy(scores, truth)
    converged = accuracy(refine_one(MeanField(n_iter=10), scores, image), truth)
    assert before < 0.985
    assert converged > 0.99


def test_the_kernel_covers_the_same_part_of_the_scene_whatever_the_aspect():
    """Two pixels one above the other in a squeezed panorama are as near as the panorama has them."""
    crf = MeanField(guide_side=64, n_iter=1, gaussian_compat=0.0, bilateral_compat=50.0)
    scores = torch.full((1, 2, 64, 64), 0.5)
    scores[0, :, 32, 32] = torch.tensor([0.1, 0.9])  # one pixel has something to say, all are of one colour
    guide = torch.full((1, 64, 64, 3), 100, dtype=torch.uint8)
    spread = {}
    for size in ((64, 64), (64, 256)):
        louder = crf(scores, guide, [size])[0, 1] - 0.5 > 1e-4
        spread[size] = louder.any(1).sum().item(), louder.any(0).sum().item()  # rows, columns
    rows, columns = spread[64, 64]
    assert abs(rows - columns) <= 8
    assert spread[64, 256][0] > 2 * spread[64, 256][1]
