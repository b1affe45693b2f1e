"""The head of soft labels is scikit-learn's logistic regression on a row for each class of each row."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fiftyone_plugin.clustering.coverage import cover
from fiftyone_plugin.clustering.head import fit_soft_head, probabilities


def rows(n: int = 120, d: int = 6, c: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d)).astype(np.float32)
    y = rng.dirichlet(np.full(c, 0.3), n) * rng.uniform(0.2, 1, (n, 1))
    return x, y.astype(np.float32)


def test_it_is_scikit_learns_with_a_row_for_each_class_of_each_row():
    x, y = rows()
    weight, bias = fit_soft_head(x, y, 2.0, max_iter=300)
    n, c = y.shape
    model = LogisticRegression(C=2.0 * y.sum() / y.sum(), tol=1e-8, max_iter=2000)
    model.fit(np.repeat(x, c, axis=0), np.tile(np.arange(c), n), sample_weight=y.ravel())
    assert probabilities(x, weight, bias) == pytest.approx(model.predict_proba(x), abs=2e-3)


def test_a_class_without_a_row_is_never_predicted():
    x, y = rows()
    found = probabilities(x, *fit_soft_head(x, np.insert(y, 1, 0, axis=1), 1.0))
    assert found[:, 1].max() == 0
    assert found.sum(1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("present", [1, 0])
def test_of_one_class_everything_is_of_it_and_of_none_nothing_fails(present):
    x, y = rows(c=1)
    weight, bias = fit_soft_head(x, np.column_stack([y * present, 0 * y]), 1.0)
    assert not weight.any()
    assert (probabilities(x, weight, bias)[:, 0] == (1 if present else 0.5)).all()


def test_cover_is_the_greedy_choice_step_by_step():
    rng = np.random.default_rng(1)
    holdings, weights = rng.dirichlet(np.full(9, 0.2), 20), rng.uniform(size=9)
    chosen = [4]
    for _ in range(5):  # the obvious way
        values = [
            -1.0 if i in chosen else float(np.sqrt(holdings[[*chosen, i]].sum(0)) @ weights)
            for i in range(20)
        ]
        chosen.append(int(np.argmax(values)))
    assert cover(holdings, weights, 5, [4]) == chosen[1:]
    assert sorted(cover(holdings, weights, 99)) == list(range(20))
