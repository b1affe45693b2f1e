import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.semi_supervised import LabelSpreading

from fiftyone_plugin.clustering import spreading
from fiftyone_plugin.clustering.normalize import l2_normalize
from fiftyone_plugin.clustering.spreading import RETENTION, n_neighbours, nearest_patches, spread_scores


def two_things(seed, n=600, noise=0.25):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2
    middles = rng.normal(size=(2, 12))
    return truth, l2_normalize(middles[truth] + noise * rng.normal(size=(n, 12)))


def spread(scores, vectors):
    """One image, (n, L) scores and (n, d) vectors."""
    near = nearest_patches(torch.from_numpy(np.array(vectors, np.float32))[None])
    return spread_scores(torch.from_numpy(np.array(scores, np.float32))[None], near)[0].numpy()


def slow_spreading(scores, vectors):
    """The closed form of the paper, (1 - a) (I - a S)^-1 Y, on a graph made by an obvious loop."""
    n = len(vectors)
    directed = np.zeros((n, n))
    for i in range(n):
        distance = ((vectors[i] - vectors) ** 2).sum(1)
        distance[i] = np.inf
        directed[i, np.argsort(distance)[: n_neighbours(n)]] = 1
    graph = (directed + directed.T) / 2
    root = np.sqrt(graph.sum(1))
    system = np.eye(n) - RETENTION * graph / np.outer(root, root)
    spread = np.linalg.solve(system, (1 - RETENTION) * scores * root[:, None]) / root[:, None]
    return spread / spread.sum(1, keepdims=True) * scores.sum(1, keepdims=True)


def test_it_is_the_closed_form_within_what_the_last_steps_leave():
    truth, vectors = two_things(0)
    scores = np.random.default_rng(1).dirichlet([1, 1, 1], len(truth))
    found = spread(scores, vectors)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, slow_spreading(scores, vectors), atol=0.01)


def test_wrong_patches_give_way_to_those_that_are_like_them():
    truth, vectors = two_things(2)
    told = truth.copy()
    wrong = np.random.default_rng(3).permutation(len(truth))[:120]
    told[wrong] = 1 - told[wrong]
    found = spread(np.eye(2)[told], vectors).argmax(1)
    assert (told == truth).mean() == 0.8
    assert (found == truth).mean() > 0.97
    # scikit-learn's implementation of the same paper, with every patch labelled, agrees about the answer
    k = n_neighbours(len(truth))
    theirs = LabelSpreading(kernel="knn", n_neighbors=k, alpha=RETENTION, max_iter=1000).fit(vectors, told)
    assert (theirs.transduction_ == found).mean() > 0.97


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_scores_stay_scores(n, classes, seed):
    rng = np.random.default_rng(seed)
    vectors = l2_normalize(rng.normal(size=(n, 6)))
    scores = rng.random((n, classes)).astype(np.float32)
    found = spread(scores, vectors)
    assert found.shape == scores.shape
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(1), scores.sum(1), rtol=1e-4)
    np.testing.assert_array_equal(found, spread(scores, vectors))


def test_images_of_a_batch_do_not_mix():
    rng = np.random.default_rng(7)
    vectors = torch.from_numpy(np.stack([two_things(seed, n=90)[1] for seed in range(3)]))
    scores = torch.from_numpy(rng.random((3, 90, 4)).astype(np.float32))
    near = nearest_patches(vectors)
    together = spread_scores(scores, near)
    for i in range(3):
        assert torch.equal(nearest_patches(vectors[i : i + 1])[0].sort().values, near[i].sort().values)
        alone = spread_scores(scores[i : i + 1], near[i : i + 1])
        torch.testing.assert_close(together[i], alone[0], atol=1e-6, rtol=1e-5)


def test_rows_in_blocks_find_the_same_neighbours(monkeypatch):
    vectors = torch.from_numpy(np.stack([two_things(seed, n=150)[1] for seed in range(2)]))
    whole = nearest_patches(vectors).sort().values
    monkeypatch.setattr(spreading, "BLOCK", {"cpu": 7 * 2 * 150})
    assert torch.equal(nearest_patches(vectors).sort().values, whole)


def test_what_all_patches_say_stays():
    _, vectors = two_things(4)
    scores = np.tile([0.7, 0.2, 0.1], (len(vectors), 1))
    np.testing.assert_allclose(spread(scores, vectors), scores, atol=1e-5)


def test_equal_patches_and_single_patches_are_no_trouble():
    same = l2_normalize(np.ones((30, 4)))
    scores = np.random.default_rng(5).dirichlet([1, 1], 30).astype(np.float32)
    assert np.isfinite(spread(scores, same)).all()
    np.testing.assert_array_equal(spread(scores[:1], same[:1]), scores[:1])


def test_an_object_of_a_few_patches_survives_in_a_small_grid():
    truth = np.zeros(36, np.int64)
    truth[14:20] = 1
    rng = np.random.default_rng(6)
    vectors = l2_normalize(rng.normal(size=(2, 12))[truth] + 0.25 * rng.normal(size=(36, 12)))
    scores = np.where(truth[:, None] == [0, 1], 0.8, 0.2)
    np.testing.assert_array_equal(spread(scores, vectors).argmax(1), truth)
    assert [n_neighbours(n) for n in (1, 3, 36, 512, 1024, 4096)] == [0, 2, 4, 8, 16, 16]
