"""Centring, whitening and L2 normalisation of feature vectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from ..common.parallel import one_thread
from ..errors import UsageError
from .kmeans import require_width

if TYPE_CHECKING:
    import torch

__all__ = [
    "DeviceNormalizer",
    "VectorNormalizer",
    "blur_patches",
    "blur_tensors",
    "l2_normalize",
    "normalizer_arrays",
]

CHUNK = 4096


def l2_normalize(x: np.ndarray) -> np.ndarray:
    """Scale the rows of (n, D) ``x`` to unit length as float32; rows of zeros stay zero."""
    x = np.asarray(x, dtype=np.float32)
    unit: np.ndarray = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return unit


def blur_patches(vectors: np.ndarray, grid: tuple[int, int], sigma: float) -> np.ndarray:
    """Blur (h*w, D) vectors over their (h, w) grid by a Gaussian of ``sigma`` patches; unit rows, float32.

    A sigma of 0 blurs nothing.
    """
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(vectors.reshape(*grid, -1), (sigma, sigma, 0), mode="nearest")
    return l2_normalize(blurred.reshape(vectors.shape))


def blur_tensors(vectors: torch.Tensor, grid: tuple[int, int], sigma: float) -> torch.Tensor:
    """Do what :func:`blur_patches` does, to (B, h*w, D) float32 tensors."""
    from torch.nn.functional import normalize

    b, n, d = vectors.shape
    if sigma:
        down, across = (_blurring(side, sigma, str(vectors.device)) for side in grid)
        vectors = down @ vectors.reshape(b, grid[0], -1)
        vectors = across @ vectors.reshape(b * grid[0], grid[1], d)
    return normalize(vectors.reshape(b, n, d), dim=2)


@lru_cache(maxsize=16)
def _blurring(side: int, sigma: float, device: str) -> torch.Tensor:
    """Return the (side, side) matrix that blurs a column; beyond its ends it goes on as it ends."""
    import torch
    from scipy.ndimage import gaussian_filter1d

    rows = gaussian_filter1d(np.eye(side), sigma, axis=0, mode="nearest")
    return torch.from_numpy(rows.astype(np.float32)).to(device)


@dataclass(eq=False, repr=False)
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

    center: bool = False
    whiten: int | None = None
    standardize: bool = False

    def fit(self, x: np.ndarray, y: None = None) -> VectorNormalizer:
        """Learn mean and projection from (n, D) ``x``."""
        if self.whiten is not None and self.standardize:
            raise UsageError("whiten and standardize exclude each other")
        if self.whiten is not None and self.whiten < 1:
            raise UsageError(f"whiten must be at least 1 component, got {self.whiten}")
        self.projection_: np.ndarray | None = None
        if self.whiten is None and not self.standardize:
            mean = l2_normalize(x).mean(0, dtype=np.float64) if self.center else np.zeros(x.shape[1])
            self.mean_ = mean.astype(np.float32)
            return self
        mean, covariance = _moments(x)
        self.mean_ = mean.astype(np.float32)
        if self.standardize:
            self.projection_ = np.diag(_inverse(np.sqrt(np.diag(covariance)))).astype(np.float32)
        else:
            self.projection_ = _whitening(covariance, min(self.whiten or 0, len(mean)))
        return self

    def first(self, n_components: int) -> VectorNormalizer:
        """Return what fitting with ``whiten=n_components`` on the same data gives, without fitting again.

        Raises:
            UsageError: not whitened, or to fewer components.
        """
        if self.whiten is None or self.projection_ is None or n_components > self.whiten:
            raise UsageError(f"{self.whiten} components were kept, {n_components} are asked for")
        other = self.of(self.mean_, np.ascontiguousarray(self.projection_[:, :n_components]))
        other.whiten = n_components
        return other

    @classmethod
    def of(cls, mean: np.ndarray, projection: np.ndarray | None = None) -> VectorNormalizer:
        """Return a fitted normalizer of these arrays, see :func:`normalizer_arrays`."""
        normalizer = cls()
        normalizer.mean_, normalizer.projection_ = mean, projection
        return normalizer

    @property
    def dim_(self) -> int:
        """The number d of dimensions of what :meth:`transform` returns."""
        return len(self.mean_) if self.projection_ is None else self.projection_.shape[1]

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Map (n, D) to (n, d) float32 rows of unit length.

        Raises:
            UsageError: D is not that of the data it was fitted on.
        """
        return l2_normalize(self.project(x))

    def project(self, x: np.ndarray) -> np.ndarray:
        """Map (n, D) to (n, d) float32 rows, as :meth:`transform` does before it scales them.

        Raises:
            UsageError: D is not that of the data it was fitted on.
        """
        require_width(x, len(self.mean_))
        x = l2_normalize(x)
        if self.mean_.any():
            x = x - self.mean_
        return x if self.projection_ is None else x @ self.projection_


class DeviceNormalizer:
    """:meth:`VectorNormalizer.transform` of a fitted normalizer on a torch device.

    Args:
        normalizer: the fitted normalizer.
        device: torch device to work on.
    """

    def __init__(self, normalizer: VectorNormalizer, device: str) -> None:
        import torch

        mean, projection = normalizer.mean_, normalizer.projection_
        self.mean = torch.from_numpy(np.array(mean)).to(device)
        self.projection = None if projection is None else torch.from_numpy(np.array(projection)).to(device)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., D) float32 to (..., d) rows of unit length."""
        from torch.nn.functional import normalize

        x = normalize(x, dim=-1) - self.mean
        return normalize(x if self.projection is None else x @ self.projection, dim=-1)


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (D,) mean and the (D, D) covariance, float64, of the rows of (n, D) ``x`` at unit length.

    Chunks are multiplied in float32, twice as fast, and summed in float64. Nearly the mean is taken off
    before, so that it costs no digits.
    """
    dim = x.shape[1]
    shift = l2_normalize(x[:CHUNK]).mean(0)
    total, products = np.zeros(dim), np.zeros((dim, dim))
    for start in range(0, len(x), CHUNK):
        rows = l2_normalize(x[start : start + CHUNK])
        rows -= shift
        total += rows.sum(0, dtype=np.float64)
        products += rows.T @ rows
    rest = total / len(x)
    return shift + rest, products / len(x) - np.outer(rest, rest)


def _whitening(covariance: np.ndarray, n_components: int) -> np.ndarray:
    """Return the (D, n_components) float32 PCA whitening of data of this (D, D) covariance."""
    with one_thread():  # on a busy machine, threads that wait for each other take 30 times as long
        variance, directions = np.linalg.eigh(covariance)
    directions = directions[:, ::-1][:, :n_components]
    scale = _inverse(np.sqrt(np.maximum(variance[::-1][:n_components], 0.0)))
    # eigh leaves the signs open
    signs = np.sign(np.take_along_axis(directions, np.abs(directions).argmax(0)[None], axis=0))
    return np.asarray(directions * signs * scale, np.float32)


def _inverse(scale: np.ndarray) -> np.ndarray:
    """Return 1/scale, and 0 for directions in which the data does not vary (pure rounding noise)."""
    threshold = 1e-5 * max(float(scale.max(initial=0.0)), 1e-12)
    return np.where(scale > threshold, 1.0 / np.maximum(scale, threshold), 0.0)


def normalizer_arrays(normalizer: VectorNormalizer) -> dict[str, np.ndarray]:
    """Return the learnt arrays of a normalizer."""
    arrays = {"mean": normalizer.mean_}
    if normalizer.projection_ is not None:
        arrays["projection"] = normalizer.projection_
    return arrays
