"""k-means of many sets at once against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from fiftyone_plugin.clustering.lloyd import draws_for, lloyd


def blobs(seed, n=200, k=5, d=12, noise=0.1):
    rng = np.random.default_rng(seed)
    truth = np.append(np.arange(k), rng.integers(k, size=n - k))
    return (rng.normal(size=(k, d))[truth] + noise * rng.normal(size=(n, d))).astype(np.float32), truth


def clustered(sets, k, seeds):
    draws = torch.from_numpy(np.stack([draws_for(k, seed) for seed in seeds]))
    return lloyd(torch.from_numpy(np.stack(sets)), draws).numpy()


def inertia(x, labels):
    return sum(((x[labels == c] - x[labels == c].mean(0)) ** 2).sum() for c in np.unique(labels))


def test_sets_with_clusters_apart_are_told_apart_and_do_not_mix():
    sets, truths = zip(*[blobs(seed) for seed in range(6)], strict=True)
    found = clustered(sets, 5, range(6))
    assert np.mean([adjusted_rand_score(a, b) for a, b in zip(truths, found, strict=True)]) > 0.95
    for i, x in enumerate(sets):
        np.testing.assert_array_equal(clustered([x], 5, [i])[0], found[i])


@pytest.mark.parametrize("k", [2, 6, 9])
def test_as_good_as_scikit_learn_and_a_fixed_point_of_it(k):
    ratios = []
    for seed in range(12):
        x, _ = blobs(seed, n=400, k=30, noise=0.4)
        (labels,) = clustered([x], k, [seed])
        means = np.stack([x[labels == c].mean(0) for c in range(k)])
        again = KMeans(k, init=means, n_init=1, max_iter=300, tol=0).fit(x)
        assert again.inertia_ >= 0.97 * inertia(x, labels)
        theirs = KMeans(k, n_init=1, max_iter=30, random_state=seed).fit(x)
        ratios.append(inertia(x, labels) / theirs.inertia_)
    assert np.mean(ratios) < 1.02


@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 3), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_few_and_equal_vectors_are_no_trouble(n, k, distinct, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(distinct, 4)).astype(np.float32)[rng.integers(distinct, size=n)]
    (labels,) = clustered([x], k, [seed])
    assert labels.min() >= 0
    assert labels.max() < k
    for label in np.unique(labels):  # equal vectors stay together
        assert not set(map(bytes, x[labels == label])) & set(map(bytes, x[labels != label]))
    np.testing.assert_array_equal(clustered([x], k, [seed])[0], labels)
