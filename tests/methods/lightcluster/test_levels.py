"""The three levels on synthetic patches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fiftyone_plugin.clustering.normalize import l2_normalize
from fiftyone_plugin.features.sampling import PatchSample, border_patches
from fiftyone_plugin.methods.lightcluster.config import LightClusterConfig
from fiftyone_plugin.methods.lightcluster.levels import (
    CategoryLevels,
    ForegroundClusters,
    fit_category_levels,
    fit_dataset_level,
    image_level,
)

GRID = (8, 8)
CONFIG = LightClusterConfig(n_dataset_clusters=4, n_category_clusters=2, n_init=3)


def scene(n_images: int = 12, noise: float = 0.1, seed: int = 0):
    """Objects in the middle of every image; even images show one kind on one ground, odd ones another."""
    rng = np.random.default_rng(seed)
    directions = l2_normalize(rng.normal(size=(4, 16)))
    middle = np.zeros(GRID, bool)
    middle[2:6, 3:7] = True
    vectors, cls = [], []
    for i in range(n_images):
        ground, thing = directions[i % 2], directions[2 + i % 2]
        clean = np.where(middle.ravel()[:, None], thing, ground)
        vectors.append(clean + noise * rng.normal(size=clean.shape) / 4)
        cls.append(thing + noise * rng.normal(size=16) / 4)
    sample = PatchSample(
        vectors=np.concatenate(vectors).astype(np.float16),
        image=np.repeat(np.arange(n_images, dtype=np.int32), 64),
        border=np.tile(border_patches(*GRID), n_images),
        attention=np.tile(np.where(middle.ravel(), 3.0, 1 / 3), n_images).astype(np.float32),
        cls=np.stack(cls).astype(np.float32),
    )
    return sample, l2_normalize(sample.vectors), np.tile(middle.ravel(), n_images)


@pytest.mark.parametrize("rule", ["border", "attention", "both"])
def test_dataset_level_finds_the_objects(rule):
    sample, vectors, truth = scene()
    level = fit_dataset_level(sample, vectors, replace(CONFIG, foreground_rule=rule))
    np.testing.assert_array_equal(level.hard(vectors), truth)
    assert ((level.soft(vectors, 0.1) > 0.5) == truth).all()


def test_a_single_cluster_is_background():
    sample, vectors, _ = scene()
    vectors = np.tile(vectors[:1], (len(vectors), 1))
    level = fit_dataset_level(sample, vectors, replace(CONFIG, n_dataset_clusters=3))
    assert len(level.centers) == 1
    assert not level.hard(vectors).any()
    assert not level.soft(vectors, 0.1).any()


def test_something_is_foreground_even_if_the_rule_finds_nothing():
    sample, vectors, truth = scene()
    level = fit_dataset_level(sample, vectors, replace(CONFIG, border_ratio=0.0))
    assert level.foreground.sum() == 1
    # the one that keeps off the frame: all of its patches belong to objects
    assert truth[level.hard(vectors)].all()


def test_categories_group_the_images_and_follow_the_majority():
    sample, vectors, truth = scene()
    dataset = fit_dataset_level(sample, vectors, CONFIG)
    levels = fit_category_levels(sample, vectors, dataset, 2, CONFIG)
    groups = [levels.group_of(cls) for cls in sample.cls]
    assert groups[0] != groups[1]
    assert groups == [groups[i % 2] for i in range(12)]
    for i, group in enumerate(groups):
        mine = sample.image == i
        np.testing.assert_array_equal(levels.groups[group].hard(vectors[mine]), truth[mine])
    # groups are found by direction, not by length
    assert levels.group_of(7 * sample.cls[0]) == groups[0]


def test_more_categories_than_images():
    sample, vectors, _ = scene(n_images=2)
    dataset = fit_dataset_level(sample, vectors, CONFIG)
    levels = fit_category_levels(sample, vectors, dataset, 9, CONFIG)
    assert len(levels.groups) == len(levels.cls_centers) == 2


def test_image_level_follows_the_coarse_map_where_clusters_do():
    sample, vectors, truth = scene()
    mine = sample.image == 3
    coarse = truth[mine].copy()
    coarse[np.flatnonzero(coarse)[:5]] = False  # five of sixteen object patches missed: most are still in
    (own,) = image_level(vectors[mine], [coarse], 2, n_init=2, random_state=0)
    np.testing.assert_array_equal(own.hard(vectors[mine]), truth[mine])


def test_hard_and_soft_agree():
    rng = np.random.default_rng(0)
    level = ForegroundClusters(rng.normal(size=(5, 8)).astype(np.float32), np.array([1, 0, 0, 1, 0], bool))
    x = rng.normal(size=(500, 8)).astype(np.float32)
    np.testing.assert_array_equal(level.soft(x, 0.3) > 0.5, level.hard(x))
    assert CategoryLevels(level.centers, []).group_of(level.centers[2] / 9) in range(5)
