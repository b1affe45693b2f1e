from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fiftyone_plugin.clustering.head import SoftmaxHead


def problem(n_classes, n=300, seed=0):
    rng = np.random.default_rng(seed)
    centers = 3 * rng.normal(size=(n_classes, 5))
    y = rng.integers(n_classes, size=n)
    return (centers[y] + rng.normal(size=(n, 5))).astype(np.float32), y


@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_probabilities_are_scikit_learns(n_classes):
    x, y = problem(n_classes)
    weight = np.random.default_rng(1).random(len(x))
    ours = SoftmaxHead(0.5, max_iter=300).fit(x, y, n_classes, sample_weight=weight)
    theirs = LogisticRegression(C=0.5, max_iter=300).fit(x, y, weight)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-3)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


def test_classes_without_a_row_are_never_predicted():
    x, y = problem(3)
    head = SoftmaxHead().fit(x, np.where(y == 1, 4, y), 6)
    probability = head.predict_proba(x)
    assert probability.shape == (300, 6)
    np.testing.assert_allclose(probability.sum(1), 1, atol=1e-5)
    assert set(np.unique(head.predict(x))) == {0, 2, 4}
    assert probability[:, [1, 3, 5]].max() == 0


def test_a_single_class_takes_everything():
    x, _ = problem(2)
    head = SoftmaxHead().fit(x, np.full(300, 1), 2)
    np.testing.assert_array_equal(head.predict_proba(x), np.tile([0.0, 1.0], (300, 1)))
