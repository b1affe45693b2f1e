"""Graphs of patches against slow loops and networkx; communities against planted ones."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from fiftyone_plugin.clustering.communities import (
    affinity_graph,
    edge_density,
    find_communities,
    grid_edges,
    grid_graph,
    patch_vectors,
)
from fiftyone_plugin.errors import UsageError

vectors = hnp.arrays(
    np.float32,
    st.tuples(st.integers(2, 12), st.integers(1, 4)),
    elements=st.floats(-4, 4, width=16).map(lambda v: round(v, 1)),
)


def planted(sizes=(40, 25, 15), noise=0.3, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around one direction a group, and the groups."""
    rng = np.random.default_rng(seed)
    centers = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    truth = np.repeat(np.arange(len(sizes)), sizes)
    x = centers[truth] + noise * rng.normal(size=(len(truth), 16)) / 4
    return x.astype(np.float32), truth


@settings(deadline=None, max_examples=60)
@given(vectors)
def test_without_weights_and_limit_the_graph_is_the_published_rule(x):
    graph = affinity_graph(x, weighted=False, neighbours=None).toarray()
    for i in range(len(x)):
        for j in range(len(x)):
            product = float(x[i].astype(np.float64) @ x[j].astype(np.float64))
            if abs(product) > 1e-5 * max(1.0, float(np.abs(x).max()) ** 2):
                assert graph[i, j] == (product > 0), (i, j)


@settings(deadline=None, max_examples=60)
@given(vectors, st.booleans(), st.none() | st.integers(1, 12))
def test_graphs_are_symmetric_and_positive(x, weighted, neighbours):
    graph = affinity_graph(x, weighted=weighted, neighbours=neighbours)
    assert graph.dtype == np.float32
    assert graph.has_canonical_format
    assert (graph.data > 0).all()
    assert abs(graph - graph.T).max() == 0
    np.testing.assert_array_equal(graph.diagonal() > 0, np.abs(x).max(1) > 0)


@pytest.mark.parametrize("neighbours", [1, 3, 10, 200])
def test_the_limit_keeps_edges_that_are_strongest_at_one_end(neighbours):
    x = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosine = unit @ unit.T
    near = np.zeros(cosine.shape, bool)
    for i, row in enumerate(cosine):
        near[i, np.argsort(-row)[:neighbours]] = True
    expected = np.where((near | near.T) & (cosine > 0), cosine, 0)
    np.testing.assert_allclose(
        affinity_graph(x, neighbours=neighbours).toarray(), expected, rtol=1e-5, atol=1e-6
    )


def test_centring_removes_a_common_component():
    x, _ = planted()
    shifted = x + np.float32(20)
    assert edge_density(affinity_graph(patch_vectors(shifted, center=False), neighbours=None)) == 1
    density = edge_density(affinity_graph(patch_vectors(shifted, center=True), neighbours=None))
    assert 0.1 < density < 0.7
    np.testing.assert_allclose(patch_vectors(shifted, center=True).mean(0), 0, atol=1e-5)
    np.testing.assert_array_equal(patch_vectors(x.astype(np.float16), center=False), x.astype(np.float16))


@settings(deadline=None, max_examples=40)
@given(vectors)
def test_density_is_that_of_networkx(x):
    graph = affinity_graph(x, neighbours=None)
    other = nx.from_scipy_sparse_array(sparse.csr_array(graph))
    other.remove_edges_from(nx.selfloop_edges(other))
    assert edge_density(graph) == pytest.approx(nx.density(other))


@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (4, 3), (7, 7)])
def test_grid_edges_join_neighbours_once(grid):
    h, w = grid
    expected = {
        frozenset((y * w + x, v * w + u))
        for y in range(h)
        for x in range(w)
        for v in range(max(0, y - 1), min(h, y + 2))
        for u in range(max(0, x - 1), min(w, x + 2))
        if (y, x) != (v, u)
    }
    pairs = list(zip(*grid_edges(grid), strict=True))
    assert len(pairs) == len(expected)
    assert {frozenset(pair) for pair in pairs} == expected


def test_communities_of_the_grid_are_compact_whatever_the_features():
    grid = (16, 16)
    graph = grid_graph(np.random.default_rng(0).normal(size=(256, 8)), grid)
    assert abs(graph - graph.T).max() == 0
    labels = find_communities(graph)
    assert 1 < labels.max() + 1 < 64
    for label in range(labels.max() + 1):
        inside = np.flatnonzero(labels == label)
        assert connected_components(graph[inside][:, inside])[0] == 1


@pytest.mark.parametrize("algorithm", ["louvain", "leiden"])
@pytest.mark.parametrize("options", [{}, {"neighbours": 10}, {"weighted": False, "neighbours": 10}])
def test_planted_communities_are_found(algorithm, options):
    x, truth = planted()
    labels = find_communities(
        affinity_graph(patch_vectors(x, center=True), **options), algorithm, resolution=0.5
    )
    # numbered by falling size, as the planted ones are
    np.testing.assert_array_equal(labels, truth)


@pytest.mark.parametrize("algorithm", ["louvain", "leiden"])
def test_modularity_is_that_of_networkx_louvain(algorithm):
    x = np.random.default_rng(3).normal(size=(150, 6)).astype(np.float32)
    graph = affinity_graph(x, neighbours=12)
    other = nx.from_scipy_sparse_array(sparse.csr_array(graph))
    labels = find_communities(graph, algorithm)
    groups = [set(np.flatnonzero(labels == c).tolist()) for c in range(labels.max() + 1)]
    found = nx.community.modularity(other, groups)
    reference = nx.community.modularity(other, nx.community.louvain_communities(other, seed=0))
    assert found > 0.95 * reference


def test_communities_come_by_falling_size_and_are_the_same_every_time():
    graph = affinity_graph(np.random.default_rng(1).normal(size=(120, 5)).astype(np.float32), neighbours=8)
    labels = find_communities(graph)
    sizes = np.bincount(labels)
    assert sizes.tolist() == sorted(sizes, reverse=True)
    np.testing.assert_array_equal(labels, find_communities(graph.copy()))
    assert len(np.unique(find_communities(graph, resolution=4.0))) > len(sizes)


def test_a_complete_graph_has_no_communities_for_modularity():
    # why degenerate graphs are guarded against: no merge gains modularity
    assert len(np.unique(find_communities(sparse.csr_matrix(np.ones((50, 50), np.float32))))) == 50


def test_a_graph_without_edges_gives_singletons():
    np.testing.assert_array_equal(find_communities(sparse.csr_matrix((5, 5), dtype=np.float32)), np.arange(5))


def test_an_unknown_algorithm_is_refused():
    with pytest.raises(UsageError, match="louvain, leiden"):
        find_communities(sparse.eye(3, format="csr"), "infomap")
