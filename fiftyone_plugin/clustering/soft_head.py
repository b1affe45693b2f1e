"""Multinomial logistic regression on soft labels."""

from __future__ import annotations

import numpy as np

from ..common.parallel import one_thread

__all__ = ["ABSENT", "fit_soft_head", "probabilities"]

ABSENT = -1e9  # bias of a class that no row has


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
    weight = np.zeros((x.shape[1], y.shape[1]), np.float32)
    bias = np.full(y.shape[1], ABSENT, np.float32)
    present = np.flatnonzero(y.sum(0) > 0)
    if len(present) == 1:
        bias[present] = 0.0
    elif len(present):
        with one_thread():
            found = _minimize(x, y[:, present], regularization, max_iter)
        weight[:, present], bias[present] = found[:-1], found[-1]
    return weight, bias


def _minimize(x: np.ndarray, y: np.ndarray, regularization: float, max_iter: int) -> np.ndarray:
    """Return the (d + 1, C) weights and biases."""
    import torch
    from scipy.optimize import minimize

    total = float(y.sum())
    rows = torch.from_numpy(np.ascontiguousarray(x, np.float32))
    wanted = torch.from_numpy((y / total).astype(np.float32))
    each = wanted.sum(1, keepdim=True)
    shape = (x.shape[1] + 1, y.shape[1])
    decay = 1 / (regularization * total)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        values = flat.reshape(shape)
        here = torch.from_numpy(values.astype(np.float32))
        log_p = torch.addmm(here[-1], rows, here[:-1]).log_softmax(1)
        loss = float(-(log_p * wanted).sum())
        residual = log_p.exp_() * each - wanted
        gradient = np.empty(shape)
        gradient[:-1] = (rows.T @ residual).numpy() + decay * values[:-1]
        gradient[-1] = residual.sum(0).numpy()
        return loss + decay / 2 * float((values[:-1] ** 2).sum()), gradient.ravel()

    options = {"maxiter": max_iter, "maxls": 50, "gtol": 1e-5, "ftol": 1e-8}
    result = minimize(objective, np.zeros(shape[0] * shape[1]), method="L-BFGS-B", jac=True, options=options)
    found: np.ndarray = result.x.reshape(shape)
    return found


def probabilities(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return (n, C) float32 probabilities of (n, d) rows."""
    logits: np.ndarray = np.asarray(x, np.float32) @ weight + bias
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits
