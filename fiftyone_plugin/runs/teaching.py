"""The stage between the fit and the masks in which a model learns from labelled images."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..common.progress import Progress
from ..errors import ImageReadError, PseudoMaskError, UsageError
from ..features.sampling import image_rng
from ..images.content import content_rank
from ..methods.base import Method
from .labels import GivenLabels

if TYPE_CHECKING:
    from ..features.source import ImageFeatureSource
    from ..methods.taught import Taught
    from ..methods.taught.lesson import Pupil

__all__ = ["taught_method", "teach"]

logger = logging.getLogger(__name__)

OTHERS = 200  # unlabelled images that are learnt from
PATCHES = 160  # of each


def taught_method(method: Method, labels: GivenLabels) -> Taught:
    """Return a method that can be taught, with all that ``method`` has learnt.

    Raises:
        UsageError: it has no clusters of the kind that is needed.
    """
    from ..methods.mosaic import Mosaic
    from ..methods.taught import Taught

    if not isinstance(method, Mosaic):
        raise UsageError(f"labels can be learnt from with the default method, mosaic, not with {method.name}")
    if not method.__sklearn_is_fitted__():
        return Taught(**{**method.get_params(), "discover": labels.discover})
    return Taught.of(method, labels.discover)


def teach(source: ImageFeatureSource, method: Taught, labels: GivenLabels, progress: Progress) -> Taught:
    """Teach a fitted method what the labels say, in the light of the other images of the source.

    What the fit has kept of an image is not computed again.

    Raises:
        PseudoMaskError: not one labelled image can be read.
    """
    paths = {item.key: item.path for item in source.items}
    rest = sorted(set(paths) - set(labels.masks))
    seed = method.config.random_state
    others = sorted(sorted(rest, key=lambda key: (content_rank(paths[key], seed), key))[:OTHERS])
    ids = sorted(labels.names)
    with progress.stage("teach", total=len(labels.masks) + len(others)) as stage:
        every = {key: _shares(labels, key, ids, source.grid) for key in sorted(labels.masks)}
        shares = {key: found for key, found in every.items() if found is not None}
        found: dict[str, Pupil] = {}
        for key, digest, pupil in _pupils(source, method, [*shares, *others], shares):
            found[key] = pupil if key in shares else _thinned(pupil, digest, seed)
            stage.update()
        for key in shares.keys() - found.keys():
            logger.warning("label of %s: %s", key, source.failures.get(key, "not read"))
        labelled = [found[key] for key in sorted(shares) if key in found]
        if not labelled:
            raise PseudoMaskError("not one labelled image can be read, so there is nothing to learn from")
        return method.teach(labelled, [found[key] for key in others if key in found], labels.names)


def _shares(labels: GivenLabels, key: str, ids: list[int], grid: tuple[int, int]) -> np.ndarray | None:
    from ..methods.taught.lesson import patch_shares

    try:
        return patch_shares(labels.mask(key), ids, grid)
    except ImageReadError as error:
        logger.warning("label of %s: %s", key, error.reason)
        return None


def _pupils(
    source: ImageFeatureSource, method: Taught, keys: list[str], shares: dict[str, np.ndarray]
) -> Iterable[tuple[str, str, Pupil]]:
    """Yield key, digest and numbers of images: from memory where a fit has kept them, else by the network."""
    missing = []
    for loaded in source.load(keys, known=lambda digest: True):
        image = source.describe(loaded, keep=True)
        pupil = method.kept_pupil(image, shares.get(image.key))
        if pupil is None:
            missing.append(image.key)
        else:
            yield image.key, image.digest, pupil
    for batch in source.batches(missing) if missing else ():
        for image, pupil in zip(batch.images, method.pupils(batch, shares), strict=True):
            yield image.key, image.digest, pupil


def _thinned(pupil: Pupil, digest: str, seed: int) -> Pupil:
    """Return some patches of an unlabelled image, drawn by its content."""
    rows = np.sort(image_rng(seed, digest).permutation(len(pupil.vectors))[:PATCHES])
    return replace(
        pupil, vectors=pupil.vectors[rows], clusters=pupil.clusters[rows], neighbours=rows[:, None]
    )
