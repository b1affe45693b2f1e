"""Limits of a fit do not change results in silence: each is told in a line."""

from __future__ import annotations

import logging

from ..clustering.region_classes import MAX_SPECTRAL

__all__ = ["tell_clustering", "tell_part"]

logger = logging.getLogger(__name__)


def tell_part(share: float, images: int, what: str) -> None:
    """Say what is learnt from a part of the images, where their share is below 1."""
    if share < 1.0:
        logger.warning(
            "%s of about %s of the %s images, drawn by their content: more would not fit in memory",
            what,
            f"{max(1, round(share * images)):,}",
            f"{images:,}",
        )


def tell_clustering(clustering: str, n: int, what: str) -> None:
    """Say that regions are too many for spectral clustering, where it was to cluster them."""
    if clustering == "spectral" and n > MAX_SPECTRAL:
        logger.warning(
            "%s %s are clustered by k-means: spectral clustering takes %s at most; fewer --fit-images have "
            "fewer",
            f"{n:,}",
            what,
            f"{MAX_SPECTRAL:,}",
        )
