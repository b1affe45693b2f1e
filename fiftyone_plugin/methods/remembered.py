"""What methods derive from one image in worker processes, once: it stays in the image's memo."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from ..common.parallel import batched, parallel_map
from ..common.progress import Progress
from ..errors import ImageReadError
from ..features.types import FeatureSource, ImageFeatures

__all__ = ["Found", "found_in_all", "found_in_one", "remember", "warn_fewer_classes"]

logger = logging.getLogger(__name__)

CHUNK = 32  # images handed to the workers at once: enough to keep them busy, few enough for memory

Found = dict[str, np.ndarray]
T = TypeVar("T")


def remember(
    images: list[ImageFeatures],
    name: str,
    *,
    prepare: Callable[[ImageFeatures], tuple[object, ...]],
    work: Callable[..., T | ImageReadError],
    describe: Callable[[ImageFeatures, T], Found],
    n_jobs: int,
) -> list[Found | ImageReadError]:
    """Return what is remembered of each image under ``name``, or work it out.

    Args:
        images: the images.
        name: it must tell apart all that the result depends on, besides the image.
        prepare: gathers the arguments of ``work``.
        work: runs in worker processes; may return an ``ImageReadError``.
        describe: makes the result of what ``work`` returned; runs here, so it may use the backbone.
        n_jobs: worker processes.

    Returns:
        For each image its arrays, or the error of one that cannot be read any more.
    """
    results: dict[int, Found | ImageReadError] = {}
    tasks: dict[int, tuple[object, ...]] = {}
    for index, image in enumerate(images):
        found = image.memo.get(name)
        if found is not None:
            results[index] = found
            continue
        try:
            tasks[index] = prepare(image)  # layers are lazy: this may read the image
        except ImageReadError as error:
            results[index] = error
    for index, made in zip(tasks, parallel_map(work, list(tasks.values()), n_jobs), strict=True):
        image = images[index]
        try:
            if isinstance(made, ImageReadError):
                raise made
            results[index] = found = describe(image, made)
            image.memo.put(name, found)
        except ImageReadError as error:
            results[index] = error
    return [results[index] for index in range(len(images))]


def found_in_one(results: list[Found | ImageReadError]) -> Found:
    """Return the result of the one image, or raise its error."""
    (found,) = results
    if isinstance(found, ImageReadError):
        raise found
    return found


def found_in_all(
    features: FeatureSource,
    find: Callable[[list[ImageFeatures]], list[Found | ImageReadError]],
    progress: Progress,
    stage_name: str,
) -> Iterator[tuple[ImageFeatures, Found]]:
    """Yield the images of a stream and what is found in them, chunk by chunk, under a progress bar.

    Images that cannot be read are left out: labelling will meet them again and list them.
    """
    with progress.stage(stage_name, total=len(features)) as stage:
        for chunk in batched(features, CHUNK):
            for image, found in zip(chunk, find(chunk), strict=True):
                stage.update()
                if not isinstance(found, ImageReadError):
                    yield image, found


def warn_fewer_classes(wanted: int, found: int, what: str) -> None:
    """Say in one line that there are fewer classes than were asked for."""
    if found < wanted:
        logger.warning(
            "%d classes asked for, but only %d distinct %s were found: using %d classes",
            wanted,
            found,
            what,
            found,
        )
