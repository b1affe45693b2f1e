"""k-means against scikit-learn, and what scikit-learn does not promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from fiftyone_plugin.clustering.kmeans import ReproducibleKMeans, squared_distances
from fiftyone_plugin.errors import UsageError


def blobs(n: int = 600, d: int = 16, k: int = 5, spread: float = 0.3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(k, d))
    return (centers[rng.integers(0, k, n)] + spread * rng.normal(size=(n, d))).astype(np.float32)


def test_distances():
    x, centers = blobs(100), blobs(7, seed=1)
    np.testing.assert_allclose(
        squared_distances(x, centers), cdist(x.astype(float), centers.astype(float), "sqeuclidean"), atol=1e-4
    )
    assert (squared_distances(x, x) >= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_lloyd_is_scikit_learns(seed):
    x = blobs(spread=0.8)
    ours = ReproducibleKMeans(5, n_init=1, random_state=seed).fit(x)
    with threadpool_limits(1):
        theirs = KMeans(5, n_init=1, max_iter=100, random_state=seed).fit(x)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-6)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [None, 256])
def test_the_same_whatever_the_number_of_threads(batch_size):
    x = blobs(n=5000, d=48, k=12, spread=1.0)
    fits = []
    for threads in (1, 2, 8):
        with threadpool_limits(threads):
            fits.append(ReproducibleKMeans(9, batch_size=batch_size, random_state=3).fit(x))
    for other in fits[1:]:
        assert other.cluster_centers_.tobytes() == fits[0].cluster_centers_.tobytes()
        assert other.labels_.tobytes() == fits[0].labels_.tobytes()
        assert other.inertia_ == fits[0].inertia_


def test_minibatches_find_what_lloyd_finds_in_clear_data():
    x = blobs(n=4000, k=6)
    full = ReproducibleKMeans(6, random_state=0).fit(x)
    batches = ReproducibleKMeans(6, batch_size=512, random_state=0).fit(x)
    assert adjusted_rand_score(full.labels_, batches.labels_) > 0.99


@pytest.mark.parametrize("batch_size", [None, 16])
@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 60), distinct=st.integers(1, 12), k=st.integers(1, 15), seed=st.integers(0, 99))
def test_few_distinct_points(batch_size, n, distinct, k, seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(distinct, 4)).astype(np.float32)
    x = points[rng.integers(0, distinct, n)]
    there = len(np.unique(x, axis=0))
    model = ReproducibleKMeans(k, batch_size=batch_size, random_state=seed).fit(x)
    found = len(model.cluster_centers_)
    assert 1 <= found <= min(k, there)
    assert model.labels_.shape == (n,)
    np.testing.assert_array_equal(np.unique(model.labels_), np.arange(found))  # no cluster is empty
    assert np.isfinite(model.cluster_centers_).all()
    if batch_size is None:
        assert found == min(k, there)
    np.testing.assert_array_equal(model.predict(x), model.labels_)


def test_attributes_agree_with_each_other():
    x = blobs(spread=1.0)
    for batch_size in (None, 128):
        model = ReproducibleKMeans(7, batch_size=batch_size, random_state=1).fit(x)
        distances = model.distances(x)
        np.testing.assert_array_equal(distances.argmin(1), model.predict(x))
        assert model.inertia_ == pytest.approx(distances.min(1).sum(), rel=1e-3)
        assert model.labels_.dtype == np.int32
        assert model.cluster_centers_.dtype == np.float32
        assert (model.predict(x) == model.labels_).mean() > 0.999


def test_ties_go_to_the_lower_index():
    model = ReproducibleKMeans(2, random_state=0).fit(np.array([[0.0], [2.0]]))
    assert model.predict(np.array([[1.0]])) == [0]


def test_impossible_settings():
    with pytest.raises(UsageError, match="at least 1 cluster"):
        ReproducibleKMeans(0).fit(blobs())
    with pytest.raises(UsageError, match="at least one vector"):
        ReproducibleKMeans(2).fit(np.zeros((0, 4)))
