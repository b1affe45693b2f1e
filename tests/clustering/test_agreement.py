from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fiftyone_plugin.clustering.agreement import Witnesses, cohesion
from fiftyone_plugin.clustering.normalize import l2_normalize


def unit(rng, *shape):
    return l2_normalize(rng.normal(size=shape).astype(np.float32))


def ask(witnesses, segments, classes, owners, neighbours):
    found = witnesses.agreement(torch.from_numpy(segments), torch.from_numpy(classes), owners, neighbours)
    return found.numpy()


@given(st.integers(1, 6), st.integers(2, 40), st.integers(1, 5), st.integers(1, 12), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_segments_of_several_images_against_a_loop(n_segments, n_regions, n_classes, neighbours, seed):
    rng = np.random.default_rng(seed)
    segments, regions, embedding = unit(rng, n_segments, 6), unit(rng, n_regions, 6), unit(rng, n_regions, 3)
    labels, classes = rng.integers(n_classes, size=n_regions), rng.integers(n_classes, size=n_segments)
    labels[0] = n_classes - 1
    owners, images = rng.integers(3, size=n_regions), rng.integers(4, size=n_segments)
    witnesses = Witnesses(regions, embedding, labels, owners, "cpu")
    found = ask(witnesses, segments, classes, images, neighbours)
    assert found.dtype == np.float32
    for i, (own, image) in enumerate(zip(classes, images, strict=True)):
        others = owners != image
        if not others.any():
            assert np.isnan(found[i])
            continue
        asked = max(5, min(neighbours, others.sum() // (2 * n_classes)))
        near = np.argsort(-(regions[others] @ segments[i]), kind="stable")[:asked]
        mean = embedding[others][near].mean(0)
        center = embedding[others & (labels == own)].sum(0)
        nearness = mean @ center / max(np.linalg.norm(center), 1e-12)
        np.testing.assert_allclose(found[i], np.clip(nearness, 0, 1), atol=1e-5)


def test_a_segment_among_its_own_kind_scores_high_and_a_mislabelled_one_low():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 50)
    regions = l2_normalize(np.eye(8, dtype=np.float32)[labels] + 0.1 * unit(rng, 150, 8))
    embedding = np.eye(3, dtype=np.float32)[labels]
    segments = regions[[3, 60, 110]]
    own, wrong, other = np.array([0, 1, 2]), np.array([1, 2, 0]), np.ones(3, np.int64)
    witnesses = Witnesses(regions, embedding, labels, np.zeros(150, np.int64), "cpu")
    assert ask(witnesses, segments, own, other, 30).min() > 0.99
    assert ask(witnesses, segments, wrong, other, 30).max() < 0.01
    assert np.isnan(ask(witnesses, segments, own, 0 * other, 30)).all()  # its own image is not asked


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 30), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_cohesion_against_a_loop(n, n_classes, n_edges, seed):
    rng = np.random.default_rng(seed)
    labels = np.append(rng.integers(n_classes, size=n), n_classes - 1)
    edges, weights = rng.integers(n, size=(n_edges, 2)), rng.random(n_edges) + 0.1
    found = cohesion(edges, weights, labels)
    assert found.shape == (n_classes,)
    for k in range(n_classes):
        ends = [(weight, labels[a], labels[b]) for (a, b), weight in zip(edges, weights, strict=True)]
        touched = sum(weight * (int(a == k) + int(b == k)) for weight, a, b in ends)
        inside = sum(2 * weight for weight, a, b in ends if a == b == k)
        np.testing.assert_allclose(found[k], inside / touched if touched else 0, atol=1e-6)


def test_classes_that_are_apart_hold_together_and_one_class_holds_everything():
    edges, weights = np.array([[0, 1], [1, 2], [3, 4], [2, 3]]), np.array([1.0, 1.0, 1.0, 0.5])
    np.testing.assert_allclose(cohesion(edges, weights, np.array([0, 0, 0, 1, 1])), [4 / 4.5, 2 / 2.5])
    np.testing.assert_allclose(cohesion(edges, weights, np.zeros(5, np.int64)), [1])
