"""The patch sample: bounded, uniform over images, and the same whatever the order."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import stats

from fiftyone_plugin.features.sampling import image_rng, sample_patches
from fiftyone_plugin.features.types import ImageFeatures


def image(index: int, grid: tuple[int, int] = (6, 5), attention: bool = False) -> ImageFeatures:
    """An image whose patch p has the vector (index, p)."""
    n = grid[0] * grid[1]
    patches = np.stack([np.full(n, index), np.arange(n)], axis=1).astype(np.float16)
    layers = {"out": patches, "cls": np.array([index, 1.0], np.float32)}
    if attention:
        layers["attn"] = np.random.default_rng(index).random(n).astype(np.float32)

    def refuse(*_):
        raise AssertionError("sampling reads no pixels")

    digest = hashlib.sha256(f"image {index}".encode()).hexdigest()
    return ImageFeatures(f"{index}.jpg", digest, (60, 50), grid, layers, refuse, refuse, refuse)


def draw(images, n_images=None, **options):
    n_images = len(images) if n_images is None else n_images
    return sample_patches(iter(images), n_images, lambda i: i["out"], **{"budget": 1000, **options})


def pairs(sample) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in sample.vectors}


def test_independent_of_the_order_of_the_images():
    images = [image(i) for i in range(40)]
    for options in ({"budget": 200}, {"budget": 10}, {"budget": 10_000}):
        expected = draw(images, **options)
        for other in (images[::-1], images[17:] + images[:17]):
            found = draw(other, **options)
            assert pairs(found) == pairs(expected)
            assert sorted(found.cls[:, 0]) == sorted(expected.cls[:, 0])


def test_rows_belong_together():
    images = [image(i, attention=True) for i in range(7)]
    sample = draw(images, budget=60)
    assert sample.vectors.dtype == np.float16
    assert len(sample.vectors) == len(sample.image) == len(sample.border) == len(sample.attention)
    for (index, patch), row, border, attention in zip(
        sample.vectors.astype(int), sample.image, sample.border, sample.attention, strict=True
    ):
        y, x = divmod(patch, 5)
        assert sample.cls[row, 0] == index
        assert border == (y in (0, 5) or x in (0, 4))
        weights = images[index]["attn"]
        assert attention == pytest.approx(weights[patch] / weights.mean(), rel=1e-5)


def test_attention_is_kept_only_where_it_is():
    assert draw([image(0)]).attention is None


@pytest.mark.parametrize(("n", "budget"), [(1, 10), (7, 60), (40, 41), (40, 10), (3, 10_000)])
def test_bounded_and_the_same_share_of_every_image(n, budget):
    sample = draw([image(i) for i in range(n)], budget=budget)
    counts = np.bincount(sample.image, minlength=n)
    expected = min(30, -(-budget // n))
    assert (counts == expected).all()
    assert len(sample.vectors) <= budget + n
    assert len(pairs(sample)) == len(sample.vectors)  # without replacement


def test_patches_are_drawn_uniformly():
    counts = np.zeros(30)
    for seed in range(200):
        for _, patch in draw([image(i) for i in range(3)], budget=15, seed=seed).vectors.astype(int):
            counts[patch] += 1
    assert stats.chisquare(counts).pvalue > 0.001


def test_at_least_one_patch_of_every_image():
    assert len(draw([image(i) for i in range(3)], n_images=1_000_000, budget=5).vectors) == 3


def test_no_image_is_an_empty_sample():
    sample = draw([], n_images=5)
    assert len(sample.vectors) == len(sample.image) == len(sample.border) == len(sample.cls) == 0


def test_advance_is_called_for_every_image():
    calls = []
    draw([image(i) for i in range(50)], advance=lambda: calls.append(1))
    assert len(calls) == 50


def test_generators_depend_on_seed_and_content():
    a, b = "1" * 64, "2" * 64
    assert image_rng(0, a).random() == image_rng(0, a).random()
    assert len({image_rng(0, a).random(), image_rng(1, a).random(), image_rng(0, b).random()}) == 3
