"""Centring, whitening and L2 normalisation of feature vectors."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from ..errors import UsageError

__all__ = ["VectorNormalizer", "l2_normalize"]


def l2_normalize(x: np.ndarray) -> np.ndarray:
    """Scale the rows of (n, D) ``x`` to unit length as float32; rows of zeros stay zero."""
    x = np.asarray(x, dtype=np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


class VectorNormalizer(TransformerMixin, BaseEstimator):
    """L2, then optionally centre or PCA-whiten, then L2 again.

    Args:
        center: subtract the mean direction. Without it, tokens of most ViTs share one large component.
        whiten: number of PCA components to keep, each scaled to unit variance; ``None`` for no PCA. Implies
            centring.
        standardize: divide every dimension by its standard deviation (after centring, instead of PCA), as
            MaskDistill does for CLS features. Implies centring.

    Attributes:
        mean_: (D,) float32, zeros without centring.
        projection_: (D, d) float32 or ``None``.
    """

    def __init__(self, center: bool = False, whiten: int | None = None, standardize: bool = False) -> None:
        self.center = center
        self.whiten = whiten
        self.standardize = standardize

    def fit(self, x: np.ndarray, y: None = None) -> VectorNormalizer:
        """Learn mean and projection from (n, D) ``x``."""
        if self.whiten is not None and self.standardize:
            raise UsageError("whiten and standardize exclude each other")
        if self.whiten is not None and self.whiten < 1:
            raise UsageError(f"whiten must be at least 1 component, got {self.whiten}")
        x = l2_normalize(x)
        centred = self.center or self.standardize or self.whiten is not None
        self.mean_ = x.mean(0) if centred else np.zeros(x.shape[1], np.float32)
        self.projection_: np.ndarray | None = None
        x = x - self.mean_
        if self.standardize:
            self.projection_ = np.diag(_inverse(x.std(0))).astype(np.float32)
        elif self.whiten is not None:
            variance, directions = np.linalg.eigh((x.T.astype(np.float64) @ x) / len(x))
            keep = np.argsort(variance)[::-1][: min(self.whiten, x.shape[1])]
            scale = _inverse(np.sqrt(np.maximum(variance[keep], 0.0)))
            signs = np.sign(directions[np.abs(directions[:, keep]).argmax(0), keep])  # eigh leaves the sign open
            self.projection_ = (directions[:, keep] * signs * scale).astype(np.float32)
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Map (n, D) to (n, d) float32 rows of unit length."""
        x = l2_normalize(x)
        if self.mean_.any():
            x = x - self.mean_
        if self.projection_ is not None:
            x = x @ self.projection_
        return l2_normalize(x)


def _inverse(scale: np.ndarray) -> np.ndarray:
    """Return 1/scale, and 0 for directions in which the data does not vary (pure rounding noise)."""
    threshold = 1e-5 * max(float(scale.max(initial=0.0)), 1e-12)
    return np.where(scale > threshold, 1.0 / np.maximum(scale, threshold), 0.0)
