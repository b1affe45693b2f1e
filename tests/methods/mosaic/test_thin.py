"""Thin lines: where they are looked for, what is found, and that a model keeps it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter
from skimage.measure import label

from fiftyone_plugin.errors import ImageReadError
from fiftyone_plugin.masks.scores import DeviceScores
from fiftyone_plugin.methods.mosaic.method import Mosaic
from fiftyone_plugin.methods.mosaic.thin import add_lines, line_strength, line_threshold, share_within
from fiftyone_plugin.methods.taught import Taught
from fiftyone_plugin.runs.model import load_method, save_method

from ..synthetic import MemorySource, batch_of, make_image, scenes
from .test_method import SMALL


def surface(seed: int, lines: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Rough grey ground in uneven light, with a crooked dark line two pixels wide, and where that is."""
    rng = np.random.default_rng(seed)
    ground = 150 + 30 * np.linspace(-1, 1, 240)[None] + rng.normal(0, 8, (160, 240))
    drawn = Image.new("L", (240, 160))
    x = np.linspace(0, 239, 7)
    ImageDraw.Draw(drawn).line(list(zip(x, rng.integers(20, 140, 7), strict=True)), 255, 2)
    line = np.asarray(drawn) > 0 if lines else np.zeros((160, 240), bool)
    ground[line] -= 45
    picture = Image.fromarray(ground.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))
    return np.asarray(picture.convert("RGB")), line


@given(st.integers(2, 6), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_share_within_images_against_a_loop(m, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, m, 40)
    tokens = rng.normal(size=(40, 5)) + rng.normal(size=(m, 5))[image]
    unit = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    total = ((unit - unit.mean(0)) ** 2).sum()
    within = sum(((unit[image == i] - unit[image == i].mean(0)) ** 2).sum() for i in np.unique(image))
    assert share_within(tokens, image) == pytest.approx(within / total, abs=1e-6)


def test_one_image_has_all_its_variance_within():
    assert share_within(np.random.default_rng(0).normal(size=(9, 3)), np.zeros(9, int)) == pytest.approx(1)
    assert share_within(np.ones((9, 3)), np.arange(9)) == 1


def test_lines_are_found_and_strengths_have_a_unit():
    pairs = [surface(seed) for seed in range(12)]
    threshold = line_threshold([picture for picture, _ in pairs])
    found = np.stack([line_strength(picture).numpy() > threshold for picture, _ in pairs])
    truth = np.stack([line for _, line in pairs])
    assert (found & truth).sum() / (found | truth).sum() > 0.5
    strength = line_strength(pairs[0][0])
    assert (strength - strength.median()).abs().median() == pytest.approx(1, rel=1e-3)
    flat = line_strength(np.full((40, 50, 3), 90, np.uint8))
    assert flat.abs().max() < 1e-3
    assert line_strength(np.zeros((1, 1, 3), np.uint8)).shape == (1, 1)
    assert line_strength(np.zeros((700, 1024, 3), np.uint8)).shape == (350, 512)


def test_scores_get_a_class_that_wins_where_a_line_is():
    picture, _ = surface(0)
    regions = torch.tensor([[[0.9, 0.4]], [[0.1, 0.6]]]).expand(2, 2, 2).contiguous()
    agreement = np.array([0.3, 0.5], np.float32)
    threshold = line_threshold([surface(seed)[0] for seed in range(10)])
    found = add_lines(DeviceScores(np.array([1, 3]), regions, agreement=agreement), picture, threshold, 4)
    assert found.refined
    assert found.labels.tolist() == [1, 3, 4]
    torch.testing.assert_close(found.scores.sum(0), torch.ones(160, 240))
    won = found.scores.argmax(0).numpy()
    np.testing.assert_array_equal(won == 2, line_strength(picture).numpy() > threshold)
    assert (won[:, :80][won[:, :80] != 2] == 0).all()
    np.testing.assert_array_equal(found.agreement[:2], agreement)
    parts = label(won == 2, connectivity=2)
    largest = max((parts == part).sum() for part in range(1, parts.max() + 1)) / (won == 2).sum()
    assert 0.5 * largest < found.agreement[2] < largest
    without = DeviceScores(np.array([1, 3]), regions)
    assert add_lines(without, picture, 1e6, 4) is without


@pytest.fixture(scope="module")
def surfaces() -> tuple[MemorySource, list[np.ndarray]]:
    """Twelve images, each of one kind of ground throughout, with a line, and where that is."""
    images, truth = MemorySource(), []
    for i in range(12):
        picture, line = surface(i)
        image = make_image(np.full((160, 240), i % 3), f"{i}.png", noise=0.02)
        images.append(replace(image, digest=f"{i:064x}", read_image=lambda picture=picture: picture))
        truth.append(line)
    return images, truth


def test_the_last_class_is_that_of_lines_where_images_hold_nothing_else(surfaces, tmp_path):
    images, truth = surfaces
    fitted = Mosaic(2, **SMALL).fit(images)
    assert fitted.n_classes_ == 2
    save_method(fitted, tmp_path)
    loaded = load_method(tmp_path)
    for image, line in zip(images, truth, strict=True):
        scores = fitted.predict(image)
        assert scores.refined
        found = scores.argmax() == 2
        assert (found & line).sum() / (found | line).sum() > 0.4
        np.testing.assert_array_equal(loaded.predict(image).scores, scores.scores)
    more = fitted.recut(4)
    assert more.n_classes_ == 4
    assert more.predict(images[0]).labels[-1] == 4
    assert Taught.of(fitted).n_classes_ == 1  # what a person calls a line is for the person to show


def test_an_image_that_has_gone_is_said_and_others_are_labelled(surfaces):
    images, _ = surfaces

    def gone() -> np.ndarray:
        raise ImageReadError("3.png", "no such file")

    fitted = Mosaic(2, **SMALL).fit(images)
    batch = batch_of([images[0], replace(images[3], read_image=gone)])
    first, second = fitted.predict_batch(batch)
    assert first.labels[-1] == 2
    assert isinstance(second, ImageReadError)
    with pytest.raises(ImageReadError, match="no such file"):
        fitted.predict(batch.images[1])


def test_no_class_is_given_to_lines_elsewhere(surfaces):
    images, _ = surfaces
    few = MemorySource(images[:9])
    for method, source in (
        (Mosaic(2, thin=False, **SMALL), images),
        (Mosaic(2, **SMALL), few),
        (Mosaic(1, **SMALL), images),
        (Taught(2, **SMALL), images),
        (Mosaic(2, **SMALL), scenes(12)),
    ):
        assert method.fit(source).thin_ is None
