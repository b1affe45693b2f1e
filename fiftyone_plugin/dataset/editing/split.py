"""Split a class in two or more: its regions are clustered anew by what they look like to the backbone."""

from __future__ import annotations

from collections.abc import Iterator
from string import ascii_lowercase
from typing import TYPE_CHECKING

import numpy as np

from ...common.parallel import one_thread
from ...common.progress import NullProgress, Progress
from ...errors import UsageError
from .history import ClassNames
from .opening import editing
from .regions import Features, Sampled, open_features
from .run import MaskRow, Written

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection as View

__all__ = ["MAX_PARTS", "RegionParts", "split_class"]

MAX_PARTS = len(ascii_lowercase)
MAX_REGIONS = 20_000  # that parts are found on; all others follow
COMPONENTS = 32
PER_COMPONENT = 7  # fewest regions for each component that is kept
RESTARTS = 10
NOISE = 1e-6  # deviation of unit vectors below which there is but rounding


class RegionParts:
    """Clusters the regions of a class into parts 1..n, numbered by falling total area.

    k-means on half-whitened descriptors, in which every region counts by its area: a class has many more
    small regions than large ones, and they hardly look like what they are. Both were measured, see
    docs/editing.md.

    Args:
        n_parts: number of parts; fewer come out of fewer distinct regions.
        random_state: seed.

    Attributes:
        labels_: (R,) int64 parts of the regions it was fitted on.
        centers_: (n, d) float32 centres.

    Raises:
        UsageError: fewer than two parts, or more than there are letters for.
    """

    def __init__(self, n_parts: int = 2, *, random_state: int = 0) -> None:
        if not 2 <= n_parts <= MAX_PARTS:
            raise UsageError(f"a class can be split into 2 to {MAX_PARTS} parts, not {n_parts}")
        self.n_parts = n_parts
        self.random_state = random_state

    def fit(self, x: np.ndarray, area: np.ndarray) -> RegionParts:
        """Cluster (R, D) unit descriptors, R >= 1, of regions with (R,) areas > 0."""
        from sklearn.cluster import KMeans

        with one_thread():  # sums over threads would differ in their last bits from run to run
            self._mean, self._projection = _half_whitening(np.asarray(x, np.float64), area / area.sum())
            vectors = self._transform(x)
            n = min(self.n_parts, len(np.unique(vectors, axis=0)))
            kmeans = KMeans(n, n_init=RESTARTS, random_state=self.random_state)
            found, labels = np.unique(kmeans.fit(vectors, sample_weight=area).labels_, return_inverse=True)
        order = np.argsort(-np.bincount(labels, weights=area), kind="stable")
        self.centers_ = kmeans.cluster_centers_[found][order].astype(np.float32)
        self.labels_ = self.predict(x)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the (n,) int64 part, from 1, with the nearest centre, of (n, D) descriptors."""
        from ...clustering.kmeans import squared_distances

        with one_thread():
            return 1 + squared_distances(self._transform(x), self.centers_).argmin(1)

    def _transform(self, x: np.ndarray) -> np.ndarray:
        from ...clustering.normalize import l2_normalize

        return l2_normalize((x - self._mean) @ self._projection)


def _half_whitening(x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (D,) weighted mean and a (D, d) PCA that scales components by the root of their deviation.

    Between plain PCA, where one component decides alone, and whitening, where all count alike.
    """
    mean = weight @ x
    centred = (x - mean) * np.sqrt(weight)[:, None]
    if len(x) < x.shape[1]:
        _, deviation, directions = np.linalg.svd(centred, full_matrices=False)
    else:
        variance, vectors = np.linalg.eigh(centred.T @ centred)
        deviation, directions = np.sqrt(np.maximum(variance[::-1], 0.0)), vectors.T[::-1]
    n = int(min(COMPONENTS, max(2, len(x) // PER_COMPONENT), (deviation > NOISE).sum()))
    if n == 0:  # all regions look alike
        return mean, np.zeros((x.shape[1], 1))
    return mean, directions[:n].T / np.sqrt(deviation[:n])


def split_class(
    samples: View,
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
    first part. The same seed gives the same parts. ``backbone`` is the name or a checkpoint of the run's
    weights, where its checkpoint has moved.

    Raises:
        UsageError: no finished run fills ``field``, the class is unknown, or has too few regions.
        MissingDependencyError: the weights are not there.
        PseudoMaskError: a file cannot be written; nothing was changed.
    """
    from .classes import check_known

    parts, progress = RegionParts(n_parts, random_state=seed), progress or NullProgress()
    with editing(samples, field) as run:
        check_known(run, [class_id])
        rows = run.rows([class_id])
        if not rows:
            raise UsageError(f"no image shows class {class_id} of {field!r}")
        features = open_features(run, rows, backbone)
        _fit(features, class_id, parts, progress, field)
        found = len(parts.centers_)
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
        counts = np.zeros(found, np.int64)
        return run.apply(
            "split",
            {"class": class_id, "n_parts": n_parts, "seed": seed},
            ClassNames(shown, names.hidden),
            _split(features, class_id, np.array(ids), parts, counts, progress),
            summarize=lambda: {
                "ids": ids,
                "regions": {str(k): int(n) for k, n in zip(ids, counts, strict=True)},
                "images_not_read": len(features.failures),
            },
        )


def _fit(features: Features, class_id: int, parts: RegionParts, progress: Progress, field: str) -> None:
    """Find the parts on at most ``MAX_REGIONS`` regions, drawn at random where there are more."""
    drawn: Sampled[tuple[np.ndarray, float]] = Sampled(MAX_REGIONS, parts.random_state)
    for _, image, mask, regions in features.regions("regions", [class_id], progress):
        share = (regions.area / mask.size).tolist()
        drawn.add(list(zip(features.describe(image, regions), share, strict=True)))
    if not drawn.items():
        raise UsageError(f"no image shows class {class_id} of {field!r}, or none of them can be read")
    vectors, areas = zip(*drawn.items(), strict=True)
    parts.fit(np.stack(vectors), np.array(areas))


def _split(
    features: Features,
    class_id: int,
    ids: np.ndarray,
    parts: RegionParts,
    counts: np.ndarray,
    progress: Progress,
) -> Iterator[tuple[MaskRow, np.ndarray]]:
    for row, image, mask, regions in features.regions("split", [class_id], progress):
        part = parts.predict(features.describe(image, regions)) - 1
        counts += np.bincount(part, minlength=len(counts))
        if part.any():
            yield row, regions.paint(ids[part], mask)
