"""Neighbours against scikit-learn and a sort."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors, kneighbors_graph

from fiftyone_plugin.clustering import neighbours
from fiftyone_plugin.clustering.neighbours import largest, nearest, neighbour_graph
from fiftyone_plugin.clustering.normalize import l2_normalize


def unit(n, seed, d=6):
    return l2_normalize(np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32))


@given(st.integers(1, 400), st.integers(1, 30), st.booleans(), st.integers(0, 999))
@settings(max_examples=80, deadline=None)
def test_the_largest_are_those_of_a_sort(m, k, ties, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(-3, 4, size=(2, 3, m)) if ties else rng.permutation(6 * m).reshape(2, 3, m)
    values = torch.from_numpy(values.astype(np.float32))
    k = min(k, m)
    found = largest(values, k)
    assert found.shape == (2, 3, k)
    assert all(len(set(row)) == k for row in found.reshape(-1, k).tolist())
    expected = values.sort(dim=-1, descending=True).values[..., :k]
    assert torch.equal(values.gather(-1, found).sort(dim=-1, descending=True).values, expected)


@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_nearest_against_scikit_learn(n, k, seed):
    x = unit(n, seed)
    k = min(k, n - 1)
    found = nearest(x, x, k, skip_self=True)
    expected = NearestNeighbors(n_neighbors=k).fit(x).kneighbors(return_distance=False)
    np.testing.assert_array_equal(found, np.sort(expected, axis=1))


def test_blocks_of_rows_are_put_together(monkeypatch):
    x = unit(150, 0)
    whole = nearest(x, x, 4, skip_self=True)
    monkeypatch.setattr(neighbours, "BLOCK", 32)
    np.testing.assert_array_equal(nearest(x, x, 4, skip_self=True), whole)


def test_the_graph_is_scikit_learns_made_symmetric():
    x = unit(300, 1, d=12)
    theirs = kneighbors_graph(x, 10, mode="connectivity")
    np.testing.assert_array_equal(neighbour_graph(x, 10).toarray(), (0.5 * (theirs + theirs.T)).toarray())
