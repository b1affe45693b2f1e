"""Which images to label next: those that stand for many, of what the model is unsure, unlike each other."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from ..clustering.coverage import cover
from ..clustering.kmeans import ReproducibleKMeans, squared_distances
from ..clustering.normalize import l2_normalize
from ..common.parallel import one_thread
from ..common.progress import NullProgress, Progress
from ..errors import ImageReadError, UsageError
from ..features.memo import MemoFolder
from ..features.types import ImageFeatures
from ..images.content import read_content
from ..images.listing import ImageItem
from .cleaning import TOKENS
from .labels import pair_files
from .model import FittedModel
from .result import finished_run

if TYPE_CHECKING:
    from ..features.source import ImageFeatureSource
    from ..methods.mosaic import Mosaic
    from ..methods.taught import Taught
    from ..methods.taught.lesson import Pupil

__all__ = ["Suggestion", "choose_images", "suggest"]

logger = logging.getLogger(__name__)

KINDS = 300  # of patches, over all images
PER_KIND = 20  # patches, at least
PATCHES = 128  # of each image
FIT_ROWS = 40_000


@dataclass(frozen=True)
class Suggestion:
    """An image to label next.

    Attributes:
        image: its key.
        reason: why, in words.
        covers: share of all patches that are of kinds which this image shows and those before it do not.
        unsure: 1 - mean margin of the model in it, 0..1.
    """

    image: str
    reason: str
    covers: float
    unsure: float


@dataclass(frozen=True)
class _Seen:
    """What is known of images, one entry each: of some patches the vectors, and how unsure the model is."""

    keys: list[str] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)
    unsure: list[np.ndarray] = field(default_factory=list)


def suggest(
    run: str | Path,
    count: int = 5,
    *,
    labels: str | Path | Collection[str] | None = None,
    progress: Progress | None = None,
) -> list[Suggestion]:
    """Say which images of a run to label next.

    Args:
        run: folder of a finished run of the default method, or one that was taught.
        count: images.
        labels: folder of masks, or keys, of the images that are labelled already.
        progress: where the stage reports to.

    Returns:
        Images, the most helpful one first; fewer where there are fewer.

    Raises:
        UsageError: no such run, or it has kept nothing of its images to compare them by.
    """
    from ..methods.mosaic import Mosaic

    directory, record, rows = finished_run(Path(run))
    model = FittedModel.load(directory.model) if FittedModel.is_in(directory.model) else None
    if model is None or not isinstance(model.method, Mosaic):
        raise UsageError(f"the run in {run} is not of the default method, by which images are compared")
    root = Path(record.images_root or "")
    items = [
        ImageItem(row.image, str(root / row.image), row.mask) for row in rows if row.status == "labelled"
    ]
    done = set(pair_files(items, labels)[0] if isinstance(labels, (str, Path)) else labels or ())
    method = _taught(model.method)
    seen = _look(items, method, MemoFolder(directory.root / TOKENS), progress or NullProgress())
    if not seen.keys:
        raise UsageError(
            f"the run in {run} has kept nothing of its images, or they have changed since; label them again"
        )
    return _choose(seen, _kinds(seen, model.seed), done, count, method.is_taught)


def choose_images(
    method: Mosaic, source: ImageFeatureSource, count: int, seed: int, done: Collection[str] = ()
) -> list[str]:
    """Return the keys of the images to label next, of a fitted method and the images that it has seen.

    The source has the memos of the fit; the images ``done`` are labelled already.
    """
    taught, seen = _taught(method), _Seen()
    for loaded in source.load(known=lambda digest: True):
        image = source.describe(loaded)
        pupil = taught.kept_pupil(image, None)
        if pupil is not None:
            _add(seen, taught, image.key, pupil)
    return [one.image for one in _choose(seen, _kinds(seen, seed), set(done), count, taught.is_taught)]


def _look(items: Sequence[ImageItem], method: Taught, memos: MemoFolder, progress: Progress) -> _Seen:
    """Read what the fit has kept of the images; those of which it kept nothing are passed over."""
    seen, lacking = _Seen(), 0
    with progress.stage("look", total=len(items)) as stage:
        for item in items:
            stage.update()
            image = _described(item, method.kept_name, memos)
            pupil = None if image is None else method.kept_pupil(image, None)
            if pupil is None:
                lacking += 1
            else:
                _add(seen, method, item.key, pupil)
    if lacking and seen.keys:
        logger.warning("%d images are passed over: nothing is kept of them, or they have changed", lacking)
    return seen


def _taught(method: Mosaic) -> Taught:
    from ..methods.taught import Taught

    return method if isinstance(method, Taught) else Taught.of(method)


def _add(seen: _Seen, method: Taught, key: str, pupil: Pupil) -> None:
    step = max(1, len(pupil.vectors) // PATCHES)
    seen.keys.append(key)
    seen.vectors.append(l2_normalize(pupil.vectors[::step]))
    seen.unsure.append(method.doubts(pupil)[::step])


def _described(item: ImageItem, kept_name: str, memos: MemoFolder) -> ImageFeatures | None:
    try:
        content = read_content(item.path)
    except ImageReadError:
        return None
    memo = memos.of(content.digest)
    kept = memo.get(kept_name)
    side = round(len(kept["head"]) ** 0.5) if kept is not None and "head" in kept else 0

    def refuse(*_: object) -> NoReturn:
        raise ImageReadError(item.key, "is looked at without the network")

    return ImageFeatures(
        item.key, content.digest, (1, 1), (side, side), {}, refuse, refuse, refuse, memo, content.stamp
    )


def _kinds(seen: _Seen, seed: int) -> np.ndarray:
    """Return the (n, M) shares of kinds of patches of each image: nearest of M means over all images."""
    every = np.concatenate(seen.vectors)
    count = max(1, min(KINDS, len(every) // PER_KIND))
    rows = np.sort(np.random.default_rng(seed).permutation(len(every))[:FIT_ROWS])
    with one_thread():
        centers = ReproducibleKMeans(count, n_init=1, random_state=seed).fit(every[rows]).cluster_centers_
        near = [squared_distances(vectors, centers).argmin(1) for vectors in seen.vectors]
    return np.stack([np.bincount(kinds, minlength=len(centers)) / len(kinds) for kinds in near])


def _choose(seen: _Seen, kinds: np.ndarray, done: set[str], count: int, taught: bool) -> list[Suggestion]:
    """Choose images; a taught model's doubts count, the clusters of any other say little about classes."""
    doubts = np.array([unsure.mean() for unsure in seen.unsure])
    mass = kinds.mean(0)
    weights = np.sqrt(mass)
    if taught:
        weights = weights * (kinds * doubts[:, None]).sum(0) / np.maximum(kinds.sum(0), 1e-12)
    chosen = [row for row, key in enumerate(seen.keys) if key in done]
    found = []
    for row in cover(kinds, weights, count, chosen):
        before = kinds[chosen].any(0) if chosen else np.zeros(len(mass), bool)
        new = float(mass[(kinds[row] > 0) & ~before].sum())
        chosen.append(row)
        says = f"shows kinds of patches that make up {new:.0%} of all and that no image before it shows"
        if new < 0.005:
            says = "shows more of what few labelled images show"
        rank = float((doubts < doubts[row]).mean())
        reason = f"{says}; the model is less sure of it than of {rank:.0%} of the images"
        found.append(Suggestion(seen.keys[row], reason, round(new, 4), round(float(doubts[row]), 4)))
    return found
