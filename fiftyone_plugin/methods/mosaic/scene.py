"""Whether all images of a data set show one kind of scene, and what then follows for their tokens."""

from __future__ import annotations

import numpy as np

from ...clustering.normalize import l2_normalize

__all__ = ["alikeness", "centering"]

ONE_SCENE = 0.82
"""Mean cosine of the CLS features of two images. Street scenes from a car have 0.87; photographs of fields or
of roads 0.78, photographs of everything 0.66 to 0.73."""
ENOUGH = 50
"""Images: of a dozen, centring helped some collections as much as it hurt others."""


def alikeness(cls: np.ndarray) -> float:
    """Return the mean cosine of two different images' (m, D) CLS features, in [-1, 1]; 0 of one image."""
    m = len(cls)
    if m < 2:
        return 0.0
    total = l2_normalize(cls).sum(0, dtype=np.float64)
    return float((total @ total - m) / (m * (m - 1)))


def centering(cls: np.ndarray) -> float:
    """Return what share of its mean token is to be taken off each image of (m, D) CLS features, 0 or 1.

    Where all images hold the same classes in much the same shares, what their mean tokens differ in is light,
    weather and camera, and classes would be cut by these: road in the sun, road in the rain. Where they do
    not, or where images are few, the mean says what an image shows; see benchmarks/notes/mosaic.md.
    """
    return 1.0 if len(cls) >= ENOUGH and alikeness(cls) > ONE_SCENE else 0.0
