"""What is common to an image is taken off where all images show one kind of scene."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from fiftyone_plugin.methods.mosaic.method import Mosaic
from fiftyone_plugin.methods.mosaic.scene import alikeness, centering
from fiftyone_plugin.runs.model import load_method, save_method

from ..synthetic import DIM, MemorySource, make_image
from .test_method import SMALL


def street(index: int) -> np.ndarray:
    """Sky over a road over a verge, with other heights in every image."""
    upper, lower = np.random.default_rng(index).integers([16, 40], [28, 52])
    labels = np.zeros((64, 64), np.int64)
    labels[upper:], labels[lower:] = 1, 2
    return labels


def streets(n: int = 20) -> MemorySource:
    """Streets in one of two lights, which differ by more than their surfaces do."""
    images = MemorySource(make_image(street(i), f"{i:03}.png", noise=0.3) for i in range(n))
    light = np.linalg.qr(np.random.default_rng(0).normal(size=(DIM, DIM)))[0][5]
    for i, image in enumerate(images):
        image.layers["out"] = (image.layers["out"] + 1.2 * (-1) ** i * light).astype(np.float16)
    return images


def score(method: Mosaic) -> float:
    images = streets()
    method.fit(images)
    found = np.stack([method.predict(image).argmax() for image in images])
    return adjusted_rand_score(
        np.stack([street(i)[4::8, 4::8] for i in range(len(images))]).ravel(), found.ravel()
    )


def test_alikeness_is_the_mean_cosine_of_pairs():
    cls = np.random.default_rng(0).normal(size=(7, 12)).astype(np.float32)
    unit = cls / np.linalg.norm(cls, axis=1, keepdims=True)
    pairs = [unit[i] @ unit[j] for i in range(7) for j in range(7) if i != j]
    assert alikeness(cls) == pytest.approx(np.mean(pairs), abs=1e-6)
    assert alikeness(cls[:1]) == 0


def test_only_one_kind_of_scene_is_centred():
    rng = np.random.default_rng(0)
    common, own = rng.normal(size=(1, 64)), rng.normal(size=(30, 64))
    assert centering((2.5 * common + own).astype(np.float32)) == 1  # a cosine of 0.86
    assert centering((1.5 * common + own).astype(np.float32)) == 0  # of 0.69


def test_surfaces_are_told_apart_in_every_light():
    options = {**SMALL, "cuts": [("out", 3)], "cue_regions": 0, "foreground": 0}
    assert score(Mosaic(3, center="auto", **options)) > 0.9
    assert score(Mosaic(3, center=0, **options)) < 0.8


def test_what_was_taken_off_is_kept_with_the_model(tmp_path):
    method = Mosaic(3, **SMALL).fit(streets())
    assert method.center_ == 1
    save_method(method, tmp_path)
    image = streets(1)[0]
    before, after = method.predict(image), load_method(tmp_path).predict(image)
    np.testing.assert_array_equal(after.agreement, before.agreement)
    assert method.recut(2).center_ == 1

    document = json.loads((tmp_path / "method.json").read_text())
    del document["state"]["center"]  # as a version wrote it that knew nothing of it
    (tmp_path / "method.json").write_text(json.dumps(document))
    assert load_method(tmp_path).center_ == 0
