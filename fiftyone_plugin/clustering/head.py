"""Linear heads on frozen features: multinomial logistic regression on classes, or on soft labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from ..common.parallel import one_thread

if TYPE_CHECKING:
    import torch

__all__ = ["ABSENT", "SoftmaxHead", "fit_soft_head", "probabilities"]

ABSENT = -1e9  # bias of a class that no row has


@dataclass(eq=False, repr=False)
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

    regularization: float = 1.0
    max_iter: int = 100
    device: str = "cpu"

    def fit(
        self, x: np.ndarray, y: np.ndarray, n_classes: int, sample_weight: np.ndarray | None = None
    ) -> SoftmaxHead:
        """Learn from (n, d) rows with (n,) classes 0..``n_classes`` - 1.

        A class without a row is never predicted.
        """
        present, labels = np.unique(y, return_inverse=True)
        self.weight_ = np.zeros((x.shape[1], n_classes), np.float32)
        self.bias_ = np.full(n_classes, ABSENT, np.float32)
        if len(present) == 1:
            self.bias_[present] = 0.0
            return self
        weight = np.ones(len(x)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        with one_thread():
            found = self._minimize(x, labels, len(present), weight)
        self.weight_[:, present], self.bias_[present] = found[:-1], found[-1]
        return self

    def _minimize(self, x: np.ndarray, y: np.ndarray, k: int, weight: np.ndarray) -> np.ndarray:
        import torch

        rows = torch.from_numpy(np.array(x, np.float32)).to(self.device)
        share = torch.from_numpy((weight / weight.sum()).astype(np.float32)).to(self.device)
        classes = torch.from_numpy(y.astype(np.int64)).to(self.device)[:, None]

        def cross_entropy(log_p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            loss = -(log_p.gather(1, classes)[:, 0] * share).sum()
            residual = log_p.exp_().scatter_add_(1, classes, -torch.ones_like(classes, dtype=log_p.dtype))
            return loss, residual.mul_(share[:, None])

        decay = (2 if k == 2 else 1) / (self.regularization * weight.sum())
        return _minimize(rows, cross_entropy, k, decay, self.max_iter, gtol=1e-4)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Return (n, K) float32 probabilities of (n, d) rows."""
        return probabilities(x, self.weight_, self.bias_)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the (n,) int64 most probable class."""
        return np.asarray(self.predict_proba(x).argmax(1))


def fit_soft_head(
    x: np.ndarray, y: np.ndarray, regularization: float, max_iter: int = 40
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a linear head to rows that belong to several classes in part.

    The objective is that of scikit-learn's ``LogisticRegression`` on a row for each class of each row,
    weighed by ``y``: the weighted mean of the cross-entropy plus ``|W|^2 / (2 C n)``, n the sum of the
    weights, of two classes too.

    Args:
        x: (n, d) float32.
        y: (n, C) float, >= 0: what each row weighs for each class.
        regularization: C of scikit-learn; lower is smoother.
        max_iter: iterations of L-BFGS (Liu and Nocedal, 1989).

    Returns:
        (d, C) float32 weights and (C,) float32 biases; a class that no row has is never predicted.
    """
    import torch

    weight = np.zeros((x.shape[1], y.shape[1]), np.float32)
    bias = np.full(y.shape[1], ABSENT, np.float32)
    present = np.flatnonzero(y.sum(0) > 0)
    if len(present) < 2:
        bias[present] = 0.0
        return weight, bias
    y = y[:, present]
    total = float(y.sum())
    rows = torch.from_numpy(np.ascontiguousarray(x, np.float32))
    wanted = torch.from_numpy((y / total).astype(np.float32))
    each = wanted.sum(1, keepdim=True)

    def cross_entropy(log_p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        loss = -(log_p * wanted).sum()
        return loss, log_p.exp_() * each - wanted

    decay = 1 / (regularization * total)
    with one_thread():
        found = _minimize(rows, cross_entropy, len(present), decay, max_iter, gtol=1e-5)
    weight[:, present], bias[present] = found[:-1], found[-1]
    return weight, bias


def _minimize(
    rows: torch.Tensor,
    cross_entropy: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    k: int,
    decay: float,
    max_iter: int,
    gtol: float,
) -> np.ndarray:
    """Return the (d + 1, K) weights and biases that minimize a cross-entropy and the decay of the weights.

    ``cross_entropy`` is given the (n, K) log-probabilities, which it may overwrite, and returns its value and
    its gradient by the logits.
    """
    import torch
    from scipy.optimize import minimize

    shape = (rows.shape[1] + 1, k)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        values = flat.reshape(shape)
        here = torch.from_numpy(values.astype(np.float32)).to(rows.device)
        loss, residual = cross_entropy(torch.addmm(here[-1], rows, here[:-1]).log_softmax(1))
        gradient = np.empty(shape)
        gradient[:-1] = (rows.T @ residual).cpu().numpy() + decay * values[:-1]
        gradient[-1] = residual.sum(0).cpu().numpy()
        return float(loss) + decay / 2 * float((values[:-1] ** 2).sum()), gradient.ravel()

    options = {"maxiter": max_iter, "maxls": 50, "gtol": gtol, "ftol": 1e-8}
    result = minimize(objective, np.zeros(shape[0] * k), method="L-BFGS-B", jac=True, options=options)
    found: np.ndarray = result.x.reshape(shape)
    return found


def probabilities(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return (n, C) float32 probabilities of (n, d) rows."""
    logits: np.ndarray = np.asarray(x, np.float32) @ weight + bias
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits
