"""Split a class in two or more: its regions are clustered anew by what they look like to the backbone."""

from __future__ import annotations

from collections.abc import Iterator
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from ..progress import NullProgress, Progress
from .history import ClassNames
from .regions import Features, open_features, read_regions
from .run import EditableRun, MaskRow, Written, editing

if TYPE_CHECKING:
    from ..clustering.region_classes import RegionClasses

__all__ = ["MAX_PARTS", "cluster_regions", "split_class"]

MAX_PARTS = len(ascii_lowercase)
MAX_REGIONS = 20_000  # that parts are found on; all others follow
WHITEN: int | None = None


def cluster_regions(
    descriptors: np.ndarray, area: np.ndarray, n_parts: int = 2, *, seed: int = 0
) -> RegionClasses:
    """Cluster the regions of a class into parts, numbered from 1 by falling total area.

    Args:
        descriptors: (R, D) float32 unit descriptors.
        area: (R,) areas; what counts is their ratio.
        n_parts: number of parts; fewer come out of fewer distinct regions.
        seed: seed of k-means.

    Returns:
        A fitted estimator: ``labels_`` and ``predict`` give parts, ``n_classes_`` their number.

    Raises:
        UsageError: fewer than two parts, or more than there are letters for.
    """
    from ..clustering.region_classes import RegionClasses

    if not 2 <= n_parts <= MAX_PARTS:
        raise UsageError(f"a class can be split into 2 to {MAX_PARTS} parts, not {n_parts}")
    return RegionClasses(n_parts, whiten=WHITEN, random_state=seed).fit(descriptors, area=area)


def split_class(
    samples: Any,
    field: str,
    class_id: int,
    *,
    n_parts: int = 2,
    seed: int = 0,
    backbone: str | None = None,
    progress: Progress | None = None,
) -> Written:
    """Split a class of a run: its connected regions are clustered by the mean of the backbone's features.

    The part with the largest area keeps the id, the others get new ids after the last one; names become
    ``<name> a``, ``<name> b``, ... A region stays whole. Regions of images that cannot be read stay in the
    first part.

    Args:
        samples: the dataset, or any view of it: classes belong to the whole dataset.
        field: mask field of a finished run.
        class_id: the class.
        n_parts: number of parts.
        seed: seed of the clustering; the same seed gives the same parts.
        backbone: name or checkpoint of the run's weights, where its checkpoint has moved.
        progress: where stages report to.

    Returns:
        The record of the edit and what changed.

    Raises:
        UsageError: no finished run fills ``field``, the class is unknown, or has too few regions.
        MissingDependencyError: the weights are not there.
        PseudoMaskError: a file cannot be written; nothing was changed.
    """
    from .classes import check_known

    progress = progress or NullProgress()
    with editing(samples, field) as run:
        check_known(run, [class_id])
        rows = run.rows([class_id])
        if not rows:
            raise UsageError(f"no image shows class {class_id} of {field!r}")
        with open_features(run, rows, backbone) as features:
            parts = _fit(run, features, class_id, n_parts, seed, progress)
            found = parts.n_classes_
            if found < 2:
                raise UsageError(
                    f"class {class_id} of {field!r} has only one region, or regions that look all alike"
                )
            names = run.names
            ids = [class_id, *range(names.next_id(), names.next_id() + found - 1)]
            if ids[-1] > 65_535:
                raise UsageError("masks hold ids up to 65,535; merge classes first")
            name = names.shown[class_id]
            free = [f"{name} {x}" for x in ascii_lowercase if f"{name} {x}" not in names.all.values()]
            shown = {**names.shown, **dict(zip(ids, free, strict=False))}
            settings = {"class": class_id, "n_parts": n_parts, "seed": seed}
            counts = np.zeros(found, np.int64)
            masks = _split(run, features, class_id, np.array(ids), parts, counts, progress)
            return run.apply(
                "split",
                settings,
                ClassNames(shown, names.hidden),
                masks,
                summarize=lambda: {
                    "ids": ids,
                    "regions": {str(k): int(n) for k, n in zip(ids, counts, strict=True)},
                    "images_not_read": len(features.failures),
                },
            )


def _fit(
    run: EditableRun, features: Features, class_id: int, n_parts: int, seed: int, progress: Progress
) -> RegionClasses:
    """Find the parts on at most ``MAX_REGIONS`` regions, drawn at random where there are more."""
    drawn: list[tuple[float, np.ndarray, float]] = []
    rng = np.random.default_rng(seed)
    with progress.stage("regions", total=len(features.source)) as stage:
        for row, image in features:
            found = read_regions(run, row, [class_id])
            stage.update()
            if found is None:
                continue
            mask, regions = found
            described = features.describe(image, regions)
            share = regions.area / mask.size
            drawn += zip(rng.random(len(regions)).tolist(), described, share.tolist(), strict=True)
            if len(drawn) > 2 * MAX_REGIONS:
                drawn = sorted(drawn, key=lambda region: region[0])[:MAX_REGIONS]
    drawn = sorted(drawn, key=lambda region: region[0])[:MAX_REGIONS]
    if not drawn:
        raise UsageError(f"no image shows class {class_id} of {run.field!r}, or none of them can be read")
    descriptors = np.stack([vector for _, vector, _ in drawn])
    return cluster_regions(descriptors, np.array([area for _, _, area in drawn]), n_parts, seed=seed)


def _split(
    run: EditableRun,
    features: Features,
    class_id: int,
    ids: np.ndarray,
    parts: RegionClasses,
    counts: np.ndarray,
    progress: Progress,
) -> Iterator[tuple[MaskRow, np.ndarray]]:
    with progress.stage("split", total=len(features.source)) as stage:
        for row, image in features:
            found = read_regions(run, row, [class_id])
            stage.update()
            if found is None:
                continue
            mask, regions = found
            part = parts.predict(features.describe(image, regions)) - 1
            counts += np.bincount(part, minlength=len(counts))
            if part.any():
                yield row, regions.paint(ids[part], mask)
