from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering, KMeans, SpectralClustering
from sklearn.metrics import adjusted_rand_score, completeness_score, homogeneity_score

from fiftyone_plugin.clustering import spectral
from fiftyone_plugin.clustering.neighbours import neighbour_graph
from fiftyone_plugin.clustering.normalize import l2_normalize
from fiftyone_plugin.clustering.spectral import (
    DIFFUSION,
    SMALLEST,
    LandmarkSpectral,
    _laplacian_eigenvectors,
    agreement,
    average_linkage,
    choose_n_clusters,
    cut_embedding,
    diffusion_rows,
    majority,
)
from fiftyone_plugin.errors import UsageError


def blobs(n_clusters=5, per_cluster=60, dim=12, noise=0.25, seed=0):
    rng = np.random.default_rng(seed)
    centers = np.linalg.qr(rng.normal(size=(dim, dim)))[0][:n_clusters]
    truth = np.repeat(np.arange(n_clusters), per_cluster)
    x = l2_normalize(
        (centers[truth] + noise * rng.normal(size=(len(truth), dim)) / np.sqrt(dim)).astype(np.float32)
    )
    order = rng.permutation(len(x))
    return x[order], truth[order]


def test_clusters_are_found_as_by_scikit_learn():
    x, truth = blobs(noise=0.9)
    ours = LandmarkSpectral(5, neighbours=10).fit(x)
    theirs = SpectralClustering(5, affinity="nearest_neighbors", n_neighbors=10, random_state=0).fit_predict(
        x
    )
    assert adjusted_rand_score(truth, ours.labels_) >= adjusted_rand_score(truth, theirs) - 0.02
    assert adjusted_rand_score(truth, ours.labels_) > 0.9
    assert ours.labels_.dtype == np.int64
    assert ours.n_clusters_ == 5
    assert np.all(np.diff(ours.eigenvalues_) >= -1e-9)
    assert ours.eigenvalues_[0] == pytest.approx(0, abs=1e-6)


def test_landmarks_stand_for_the_rest_and_new_rows():
    x, truth = blobs(per_cluster=200)
    fitted = LandmarkSpectral(5, neighbours=10, max_landmarks=150).fit(x)
    assert len(fitted.landmarks_) == len(fitted.landmark_labels_) == 150
    assert adjusted_rand_score(truth, fitted.labels_) == 1.0
    new, new_truth = blobs(seed=0, noise=0.3)
    assert adjusted_rand_score(new_truth, fitted.predict(new)) == 1.0


def test_the_number_of_clusters_can_be_read_off_the_graph():
    for k in (4, 7):
        x, truth = blobs(k, dim=16)
        fitted = LandmarkSpectral("auto", neighbours=15, auto_range=(2, 12)).fit(x)
        assert fitted.n_clusters_ == k
        assert len(fitted.eigenvalues_) == 13
        assert adjusted_rand_score(truth, fitted.labels_) == 1.0


def test_eigenvalues_against_a_dense_solver_also_where_the_graph_falls_apart():
    for noise, parts in ((0.1, 5), (2.0, 1)):
        graph = neighbour_graph(blobs(per_cluster=30, noise=noise)[0], 8)
        degree = np.asarray(graph.sum(1)).ravel()
        laplacian = np.eye(len(degree)) - graph.toarray() / np.sqrt(np.outer(degree, degree))
        expected = np.linalg.eigvalsh(laplacian)[:9]
        values, vectors = _laplacian_eigenvectors(graph, 9, seed=0)
        assert (expected < 1e-9).sum() == parts
        np.testing.assert_allclose(values, expected, atol=1e-4)
        vectors = vectors * np.sqrt(degree)[:, None]
        np.testing.assert_allclose(laplacian @ vectors, vectors * values, atol=1e-2)
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(9), atol=1e-5)


def test_the_largest_relative_gap_decides_within_its_range():
    values = np.array([0.0, 0.01, 0.02, 0.3, 0.33, 0.36, 0.9])
    assert choose_n_clusters(values, 2, 6) == 3
    assert choose_n_clusters(values, 4, 6) == 6
    assert choose_n_clusters(values, 4, 5) == 4
    assert choose_n_clusters(values, 9, 20) == 6


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_any_few_rows_give_labels_and_the_same_ones_again(n, k, distinct):
    rng = np.random.default_rng(n)
    x = l2_normalize(rng.normal(size=(distinct + 1, 4)).astype(np.float32))[
        rng.integers(distinct + 1, size=n)
    ]
    first, again = (LandmarkSpectral(k, neighbours=5).fit(x) for _ in range(2))
    np.testing.assert_array_equal(first.labels_, again.labels_)
    assert first.labels_.shape == (n,)
    assert 0 <= first.labels_.min() <= first.labels_.max() < first.n_clusters_ <= k
    for same in range(n):  # equal rows, equal clusters
        assert first.labels_[same] == first.labels_[np.flatnonzero((x == x[same]).all(1))[0]]


def test_impossible_requests_are_refused():
    with pytest.raises(UsageError, match="at least 1 cluster"):
        LandmarkSpectral(0).fit(np.ones((3, 2)))
    with pytest.raises(UsageError, match="at least one vector"):
        LandmarkSpectral(2).fit(np.ones((0, 2)))


def test_cutting_keeps_groups_whole_or_splits_them():
    x, truth = blobs(7, dim=16, noise=0.9)
    fitted = LandmarkSpectral(7, neighbours=15, auto_range=(2, 12)).fit(x)
    assert fitted.embedding_.shape == (len(x), 13)
    for k in (2, 5, 7, 12):
        ours = cut_embedding(fitted.embedding_, fitted.eigenvalues_, k)
        assert len(np.unique(ours)) == ours.max() + 1 == k
        if k <= 7:
            assert completeness_score(truth, ours) > 0.95
        if k >= 7:
            assert homogeneity_score(truth, ours) > 0.95
        mirrored = cut_embedding(-fitted.embedding_, fitted.eigenvalues_, k)  # signs mean nothing
        np.testing.assert_array_equal(ours, mirrored)
    np.testing.assert_array_equal(fitted.labels_, cut_embedding(fitted.embedding_, fitted.eigenvalues_, 7))
    assert adjusted_rand_score(truth, fitted.labels_) > 0.95


@pytest.mark.parametrize("seed", range(3))
def test_a_large_group_is_not_split_for_the_sake_of_small_ones(seed):
    """k-means lowers its inertia by splitting the large group and joining two of the small ones."""
    truth = np.repeat(np.arange(4), [600, 40, 40, 40])
    centers = l2_normalize(np.array([[1, 0, 0, 0], [0, 1, 0.5, 0.5], [0, 0.5, 1, 0.5], [0, 0.5, 0.5, 1]]))
    spread = np.where(truth == 0, 0.2, 0.05)[:, None]
    rows = l2_normalize(centers[truth] + spread * np.random.default_rng(seed).normal(size=(len(truth), 4)))
    assert adjusted_rand_score(truth, cut_embedding(rows, np.zeros(4), 4)) > 0.99
    assert adjusted_rand_score(truth, KMeans(4, n_init=10, random_state=0).fit_predict(rows)) < 0.5


def test_beyond_the_limit_some_rows_stand_for_all(monkeypatch):
    x, truth = blobs(5)
    fitted = LandmarkSpectral(5, neighbours=10).fit(x)
    monkeypatch.setattr(spectral, "MAX_LINKAGE", 100)
    ours = cut_embedding(fitted.embedding_, fitted.eigenvalues_, 5)
    assert adjusted_rand_score(truth, ours) > 0.95


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_average_linkage_against_scikit_learn(n, k, distinct, seed):
    """With no smallest size to speak of (n < 5 K), the tree is cut into exactly K."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(distinct, 3))[rng.integers(distinct, size=n)]
    k = min(n, max(k, n // 5 + 1))
    ours = average_linkage(x, k)
    assert sorted(set(ours)) == list(range(k))
    if len(np.unique(x, axis=0)) == n > 1:  # else it is open which of equals are joined
        theirs = AgglomerativeClustering(k, linkage="average").fit_predict(x)
        assert adjusted_rand_score(theirs, ours) == 1


@given(st.integers(20, 120), st.integers(1, 6), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_outliers_do_not_take_the_place_of_clusters(n, k, seed):
    """Against cutting at every height: the highest cut with K clusters that are large enough."""
    x = np.random.default_rng(seed).standard_t(2, size=(n, 3))
    ours = average_linkage(x, k)
    least = SMALLEST * n / k
    for cut in range(k, n + 1):
        labels = AgglomerativeClustering(cut, linkage="average").fit_predict(x)
        large = np.bincount(labels) >= least
        if large.sum() == k:
            expected = np.where(large[labels], labels, -1)
            assert adjusted_rand_score(expected, ours) == 1
            np.testing.assert_array_equal(expected < 0, ours < 0)
            return
    assert len(set(ours) - {-1}) == k  # of a smaller size


def test_diffusion_rows_are_as_far_apart_as_random_walks_are():
    """Diffusion distance by definition: between the distributions of a walk after t steps, over degrees."""
    x, _ = blobs(3, per_cluster=15, noise=0.6)
    graph = neighbour_graph(x, 8).toarray()
    graph += np.diag(graph.sum(1))  # a lazy walk: no eigenvalue is beyond 1
    degree = graph.sum(1)
    root = np.sqrt(degree)
    values, vectors = np.linalg.eigh(np.eye(len(x)) - graph / np.outer(root, root))
    walk = np.linalg.matrix_power(graph / degree[:, None], DIFFUSION) / root
    walk /= np.linalg.norm(walk, axis=1, keepdims=True)
    rows = diffusion_rows(vectors / root[:, None], values, len(x))
    np.testing.assert_allclose(rows @ rows.T, walk @ walk.T, atol=1e-6)


def test_what_views_tell_apart_together():
    """Two views that each tell only half of the clusters apart tell all of them together."""
    x, truth = blobs(4, per_cluster=80, dim=12, noise=0.3)
    left, right = truth // 2, truth % 2
    rng = np.random.default_rng(1)
    centers = np.eye(12, dtype=np.float32)
    views = [
        l2_normalize(centers[half] + 0.05 * rng.normal(size=(len(x), 12)).astype(np.float32))
        for half in (left, right)
    ]
    alone = LandmarkSpectral(4, neighbours=80).fit(views[0])
    together = LandmarkSpectral(4, neighbours=80).fit(views[0], views=[lambda rows: views[1][rows]])
    assert adjusted_rand_score(truth, alone.labels_) < 0.8
    assert adjusted_rand_score(truth, together.labels_) > 0.9


def test_an_edge_weighs_the_square_of_the_share_of_graphs_that_have_it():
    graphs = [neighbour_graph(blobs(seed=seed)[0], 10) for seed in range(3)]
    dense = np.mean([graph.toarray() for graph in graphs], axis=0) ** 2
    np.testing.assert_allclose(agreement(graphs).toarray(), dense)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_majority_against_a_loop(n_votes, k, seed):
    votes = np.random.default_rng(seed).integers(0, k, size=(20, n_votes))
    expected = [min(range(k), key=lambda c: (-list(row).count(c), c)) for row in votes]
    np.testing.assert_array_equal(majority(votes, k), expected)
