"""A linear head on frozen features, trained on the clusters of confident patches."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from ..common.parallel import one_thread

__all__ = ["SoftmaxHead"]


class SoftmaxHead(ClassifierMixin, BaseEstimator):
    """Multinomial logistic regression (scikit-learn's), with a temperature and float32 weights.

    Args:
        regularization: C of scikit-learn; lower is smoother.
        max_iter: iterations of L-BFGS.

    Attributes:
        weight_: (d, K) float32.
        bias_: (K,) float32.
    """

    def __init__(self, regularization: float = 1.0, max_iter: int = 100) -> None:
        self.regularization = regularization
        self.max_iter = max_iter

    def fit(
        self, x: np.ndarray, y: np.ndarray, n_classes: int, sample_weight: np.ndarray | None = None
    ) -> SoftmaxHead:
        """Learn from (n, d) rows with (n,) classes 0..``n_classes`` - 1.

        A class without a row is never predicted.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        x = np.asarray(x, np.float64)
        present = np.unique(y)
        self.weight_ = np.zeros((x.shape[1], n_classes), np.float32)
        self.bias_ = np.full(n_classes, -1e9, np.float32)
        if len(present) == 1:
            self.bias_[present] = 0.0
            return self
        # two classes as two columns: scikit-learn's binary model has one, for the second class
        model = LogisticRegression(C=self.regularization, max_iter=self.max_iter)
        with one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the last per mille does not move a mask
            model.fit(x, y, sample_weight)
        weight, bias = model.coef_.T, model.intercept_
        if len(present) == 2:
            weight, bias = np.hstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        self.weight_[:, present] = weight
        self.bias_[present] = bias
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Return (n, K) float32 probabilities of (n, d) rows."""
        logits: np.ndarray = np.asarray(x, np.float32) @ self.weight_ + self.bias_
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        return logits

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the (n,) int64 most probable class."""
        return np.asarray(self.predict_proba(x).argmax(1))
