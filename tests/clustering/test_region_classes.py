from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import normalize

from fiftyone_plugin.clustering.normalize import VectorNormalizer
from fiftyone_plugin.clustering.region_classes import RegionClasses, pool_regions, stack_layers
from fiftyone_plugin.errors import UsageError


def blobs(n: int = 90, k: int = 3, dim: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % k
    return (3 * np.eye(dim)[truth] + 0.3 * rng.normal(size=(n, dim))).astype(np.float32), truth


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**20), st.integers(1, 40), st.integers(1, 6))
def test_pooling_agrees_with_a_loop(seed, n, k):
    rng = np.random.default_rng(seed)
    tokens, regions = rng.normal(size=(n, 5)), rng.integers(-1, k, n)
    ids, means, area = pool_regions(tokens, regions)
    assert ids.tolist() == sorted(set(regions[regions >= 0].tolist()))
    for row, region in enumerate(ids):
        mean = tokens[regions == region].mean(0)
        np.testing.assert_allclose(means[row], mean / np.linalg.norm(mean), atol=1e-4)
        assert area[row] == pytest.approx((regions == region).sum() / n)


def test_layers_are_normalised_before_they_are_stacked():
    a, b = np.array([[3.0, 4.0]]), np.array([[0.0, 100.0, 0.0]])
    np.testing.assert_allclose(stack_layers([a, b]), [[0.6, 0.8, 0, 1, 0]], atol=1e-6)


@pytest.mark.parametrize("clustering", ["kmeans", "spectral"])
@pytest.mark.parametrize("whiten", [None, 2, 64])
def test_groups_are_found(clustering, whiten):
    x, truth = blobs()
    model = RegionClasses(3, clustering=clustering, whiten=whiten).fit(x)
    if whiten != 64:  # whitened to all dimensions, noise counts as much as the groups
        assert adjusted_rand_score(truth, model.labels_) == 1
    assert set(model.predict(x)) == {1, 2, 3}


def test_few_regions_are_not_whitened_to_as_many_components():
    """Eighteen vectors whitened to seventeen components would all be orthogonal."""
    x, truth = blobs(n=18, dim=40)
    model = RegionClasses(3, whiten=64).fit(x)
    assert model.normalizer_.projection_.shape == (40, 2)
    assert adjusted_rand_score(truth, model.labels_) == 1


def test_the_recipe_against_scikit_learn():
    x, _ = blobs(n=60, k=4)
    model = RegionClasses(4, whiten=5, n_init=5).fit(x)
    unit = normalize(x)
    vectors = normalize(PCA(5, whiten=True, svd_solver="full").fit_transform(unit.astype(np.float64)))
    expected = KMeans(4, n_init=5, random_state=0).fit(vectors)
    assert adjusted_rand_score(expected.labels_, model.labels_) == 1


def test_classes_are_numbered_by_falling_area():
    x, truth = blobs()
    area = np.array([0.1, 0.5, 0.3])[truth]
    labels = RegionClasses(3, whiten=None).fit(x, area=area).labels_
    assert [int(labels[truth == group][0]) for group in (1, 2, 0)] == [1, 2, 3]


def test_new_regions_take_the_class_of_the_nearest_mean():
    x, _ = blobs()
    model = RegionClasses(3, whiten=2).fit(x)
    new = blobs(seed=1)[0]
    vectors = model.normalizer_.transform(new)
    expected = [1 + np.argmin([((v - c) ** 2).sum() for c in model.centers_]) for v in vectors]
    np.testing.assert_array_equal(model.predict(new), expected)


def test_saved_and_restored():
    x, _ = blobs()
    model = RegionClasses(3).fit(x)
    saved = model.get_arrays()
    again = RegionClasses(3)
    again.normalizer_ = VectorNormalizer.of(saved["mean"], saved.get("projection"))
    again.centers_ = saved["centers"]
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    assert again.n_classes_ == 3


@pytest.mark.parametrize("clustering", ["kmeans", "spectral"])
@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_few_regions_make_few_classes(clustering, n):
    x = blobs(n=5)[0][:n]
    model = RegionClasses(20, clustering=clustering).fit(x)
    assert model.n_classes_ == n
    assert sorted(model.labels_) == list(range(1, n + 1))
    np.testing.assert_array_equal(model.predict(x), model.labels_)


def test_equal_regions_make_one_class():
    model = RegionClasses(4).fit(np.ones((9, 3), np.float32))
    assert model.n_classes_ == 1
    assert set(model.labels_) == {1}
    np.testing.assert_array_equal(RegionClasses(4).fit(np.zeros((0, 3))).predict(np.ones((2, 3))), [0, 0])


@pytest.mark.parametrize("wrong", [{"clustering": "magic"}, {"n_classes": 0}])
def test_impossible_settings(wrong):
    with pytest.raises(UsageError):
        RegionClasses(**wrong).fit(np.eye(3))
