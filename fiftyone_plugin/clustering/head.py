"""A linear head on frozen features, trained on the clusters of confident patches."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from ..common.parallel import one_thread

__all__ = ["SoftmaxHead"]


class SoftmaxHead(ClassifierMixin, BaseEstimator):
    """Multinomial logistic regression with the objective of scikit-learn's, in float32 on a device.

    That is the weighted mean of the cross-entropy, plus |W|^2 / (2 C n) with n the sum of the weights; of two
    classes plus twice that, as scikit-learn's binary model has one column of weights for them.

    Args:
        regularization: C of scikit-learn; lower is smoother.
        max_iter: iterations of L-BFGS (Liu and Nocedal, 1989).
        device: torch device to train on.

    Attributes:
        weight_: (d, K) float32.
        bias_: (K,) float32.
    """

    def __init__(self, regularization: float = 1.0, max_iter: int = 100, device: str = "cpu") -> None:
        self.regularization = regularization
        self.max_iter = max_iter
        self.device = device

    def fit(
        self, x: np.ndarray, y: np.ndarray, n_classes: int, sample_weight: np.ndarray | None = None
    ) -> SoftmaxHead:
        """Learn from (n, d) rows with (n,) classes 0..``n_classes`` - 1.

        A class without a row is never predicted.
        """
        present, rows = np.unique(y, return_inverse=True)
        self.weight_ = np.zeros((x.shape[1], n_classes), np.float32)
        self.bias_ = np.full(n_classes, -1e9, np.float32)
        if len(present) == 1:
            self.bias_[present] = 0.0
            return self
        weight = np.ones(len(x)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        with one_thread():
            found = self._minimize(x, rows, len(present), weight)
        self.weight_[:, present] = found[:-1]
        self.bias_[present] = found[-1]
        return self

    def _minimize(self, x: np.ndarray, y: np.ndarray, k: int, weight: np.ndarray) -> np.ndarray:
        """Return the (d + 1, K) weights and biases, for classes each of which occurs."""
        import torch
        from scipy.optimize import minimize

        rows = torch.from_numpy(np.array(x, np.float32)).to(self.device)
        share = torch.from_numpy((weight / weight.sum()).astype(np.float32)).to(self.device)
        classes = torch.from_numpy(y.astype(np.int64)).to(self.device)[:, None]
        shape = (x.shape[1] + 1, k)
        decay = (2 if k == 2 else 1) / (self.regularization * weight.sum())

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            values = flat.reshape(shape)
            here = torch.from_numpy(values.astype(np.float32)).to(self.device)
            log_p = torch.addmm(here[-1], rows, here[:-1]).log_softmax(1)
            loss = -(log_p.gather(1, classes)[:, 0] * share).sum()
            residual = log_p.exp_().scatter_add_(1, classes, -torch.ones_like(classes, dtype=log_p.dtype))
            residual *= share[:, None]
            gradient = np.empty(shape)
            gradient[:-1] = (rows.T @ residual).cpu().numpy() + decay * values[:-1]
            gradient[-1] = residual.sum(0).cpu().numpy()
            return float(loss) + decay / 2 * float((values[:-1] ** 2).sum()), gradient.ravel()

        options = {"maxiter": self.max_iter, "maxls": 50, "gtol": 1e-4, "ftol": 1e-8}
        result = minimize(objective, np.zeros(shape[0] * k), method="L-BFGS-B", jac=True, options=options)
        found: np.ndarray = result.x.reshape(shape)
        return found

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
