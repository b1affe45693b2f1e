"""Propagate a handful of corrections: regions that look like the corrected ones follow them. No training.

What a person has corrected in a few masks (:func:`~.detections.detections_to_masks`) tells, region by region,
which class was right and which was wrong. Every other region of a class that was corrected somewhere is
compared with these examples, by the mean of the backbone's features, and follows the nearest one if that is
clearly nearer than anything that speaks for the class it has: a nearest-prototype rule.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...common.progress import NullProgress, Progress
from ...errors import ImageReadError, UsageError
from ...masks.files import read_mask_file
from ...masks.regions import MaskRegions, find_regions
from .opening import editing
from .regions import Features, Sampled, open_features
from .run import EditableRun, MaskRow, Written

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection as View

    from ...clustering.normalize import VectorNormalizer
    from ...features.types import ImageFeatures

__all__ = ["MARGIN", "Examples", "changed_regions", "propagate_corrections", "reassign"]

Moves = defaultdict[tuple[int, int], list[int]]  # class before and after -> areas of the regions that moved

MARGIN = 0.1
WHITEN = 64
PER_COMPONENT = 7  # fewest regions for each component that is kept
SAMPLE = 20_000  # regions that the whitening is fitted on
MIN_SHARE = 0.001  # of an image, below which a region is no example


@dataclass(frozen=True)
class Examples:
    """Regions of which a person has said what they are."""

    vectors: np.ndarray  # (E, d) float32, unit length
    was: np.ndarray  # (E,) class before the correction
    now: np.ndarray  # (E,) class after it; the same where it was confirmed


# ---------------------------------------------------------------------- arrays


def changed_regions(before: np.ndarray, after: np.ndarray) -> tuple[MaskRegions, np.ndarray]:
    """Find the regions of a corrected mask in which one class became another, or stayed.

    Of two masks of (H, W) class ids, these are the connected regions of equal (before, after), both not 0.

    Returns:
        The regions with the class before; and (R,) the class after.
    """
    both = (before > 0) & (after > 0)
    pairs, codes = np.unique(
        np.stack([before[both], after[both]]).astype(np.int64), axis=1, return_inverse=True
    )
    coded = np.zeros(before.shape, np.int64)
    coded[both] = codes.ravel() + 1
    regions = find_regions(coded)
    code = regions.label - 1
    return MaskRegions(regions.map, pairs[0][code], regions.area), pairs[1][code]


def reassign(
    vectors: np.ndarray,
    label: np.ndarray,
    examples: Examples,
    means: dict[int, np.ndarray],
    margin: float = MARGIN,
) -> np.ndarray:
    """Let regions follow the corrections that they resemble.

    A region of class a is compared with the examples that were a. It takes the class of the most similar one
    that was corrected, if that similarity (cosine) exceeds by ``margin`` the similarity to the mean of class
    a and to every example that was confirmed as a. Classes without corrections keep all regions.

    Args:
        vectors: (R, d) float32, unit length.
        label: (R,) classes.
        examples: what a person has said.
        means: class -> (d,) mean of its regions, unit length. A region takes part in the mean of its class by
            its area, so that large ones stay more readily; to leave it out moved more, and less rightly. A
            class without a mean counts as unlike any region.
        margin: in cosine similarity; larger moves fewer regions.

    Returns:
        (R,) classes.
    """
    new = label.copy()
    moved = examples.was != examples.now
    for class_id in np.unique(examples.was[moved]):
        rows = np.flatnonzero(label == class_id)
        if len(rows) == 0:
            continue
        ours = examples.was == class_id
        leave, stay = examples.vectors[ours & moved], examples.vectors[ours & ~moved]
        away = vectors[rows] @ leave.T
        mean = means.get(int(class_id), np.zeros(vectors.shape[1], np.float32))
        home = vectors[rows] @ np.vstack([mean[None], stay]).T
        follow = away.max(axis=1) - home.max(axis=1) > margin
        new[rows[follow]] = examples.now[ours & moved][away.argmax(axis=1)][follow]
    return new


# ---------------------------------------------------------------------- datasets


def propagate_corrections(
    samples: View,
    field: str,
    *,
    margin: float = MARGIN,
    backbone: str | None = None,
    progress: Progress | None = None,
) -> Written:
    """Let all masks of a run follow the corrections made in a few of them.

    The corrections are what :func:`~.detections.detections_to_masks` has put into the masks: in the samples
    that it changed, a region with another class than the run gave it is an example of what was wrong, all
    others confirm their class. See :func:`reassign` for the rule. Masks that were corrected by hand stay.

    ``margin`` is by how much a region must be more similar to a corrected example than to its class, in
    cosine similarity; larger moves fewer regions. ``backbone`` is the name or a checkpoint of the run's
    weights, where its checkpoint has moved.

    Returns:
        What changed. The summary of the edit tells how many ``regions`` and ``pixels`` moved, and ``moves``:
        how many regions from which class to which.

    Raises:
        UsageError: no finished run fills ``field``, nothing was corrected, or a margin below 0.
        MissingDependencyError: the weights are not there.
        PseudoMaskError: a file cannot be written; nothing was changed.
    """
    if not 0 <= margin <= 2:
        raise UsageError(f"the margin is a difference of cosines, 0 to 2, not {margin}")
    progress = progress or NullProgress()
    with editing(samples, field) as run:
        corrected = _corrected_rows(run)
        rows = run.rows()
        features = open_features(run, rows, backbone)
        learnt = _learn(run, features, corrected, progress)
        moves: Moves = defaultdict(list)
        return run.apply(
            "propagate",
            {"margin": margin, "corrected_images": len(corrected)},
            run.names,
            _moved(features, set(corrected), learnt, margin, moves, progress),
            summarize=lambda: {
                "regions": sum(map(len, moves.values())),
                "pixels": sum(map(sum, moves.values())),
                "moves": [[was, now, len(areas)] for (was, now), areas in sorted(moves.items())],
            },
        )


def _corrected_rows(run: EditableRun) -> dict[str, str]:
    """Return name -> path of the mask before the corrections, of all masks that were corrected by hand."""
    edits = [edit for edit in run.applied if edit.kind == "detections"]
    before: dict[str, str] = {}
    for edit in reversed(edits):
        before.update({name: run.path_before(name, edit) for name in run.changed_names(edit)})
    if not before:
        raise UsageError(
            f"no mask of {run.field!r} was corrected: turn some into detections, correct these, and put them "
            f"back with detections_to_masks"
        )
    return before


@dataclass(frozen=True)
class _Learnt:
    normalizer: VectorNormalizer
    examples: Examples
    means: dict[int, np.ndarray]
    n_images: Counter[int]

    def means_of_others(self, regions: MaskRegions) -> dict[int, np.ndarray]:
        """Return the means that say something to an image: not those of classes that it alone has."""
        alone = {int(id_) for id_ in np.unique(regions.label) if self.n_images[int(id_)] == 1}
        return {id_: mean for id_, mean in self.means.items() if id_ not in alone}


def _learn(run: EditableRun, features: Features, corrected: dict[str, str], progress: Progress) -> _Learnt:
    """Collect the examples, and what the classes look like, in one pass."""
    from ...clustering.normalize import VectorNormalizer

    drawn: Sampled[np.ndarray] = Sampled(SAMPLE, 0)
    examples: list[tuple[np.ndarray, int, int]] = []
    sums: dict[int, Any] = {}
    n_images: Counter[int] = Counter()
    for row, image, mask, regions in features.regions("regions", None, progress):
        if row.name in corrected:
            examples += _examples(corrected[row.name], mask, features, image)
            continue
        vectors = features.describe(image, regions)
        n_images.update(np.unique(regions.label).tolist())
        for vector, label, area in zip(vectors, regions.label, regions.area, strict=True):
            sums[int(label)] = sums.get(int(label), 0.0) + area / mask.size * vector
        drawn.add(list(vectors[regions.area >= MIN_SHARE * mask.size]))
    if not any(was != now for _, was, now in examples):
        raise UsageError(f"in the corrected masks of {run.field!r}, no region has another class than before")
    sample = np.stack([*drawn.items(cut=False), *(vector for vector, _, _ in examples)])
    normalizer = VectorNormalizer(whiten=min(WHITEN, max(2, len(sample) // PER_COMPONENT))).fit(sample)
    return _Learnt(
        normalizer,
        Examples(
            normalizer.transform(np.stack([vector for vector, _, _ in examples])),
            np.array([was for _, was, _ in examples]),
            np.array([now for _, _, now in examples]),
        ),
        {id_: normalizer.transform(total[None])[0] for id_, total in sums.items()},
        n_images,
    )


def _examples(
    path: str, after: np.ndarray, features: Features, image: ImageFeatures
) -> list[tuple[np.ndarray, int, int]]:
    try:
        before = read_mask_file(path)
    except ImageReadError:
        return []
    regions, now = changed_regions(before, after)
    large = np.flatnonzero(regions.area >= MIN_SHARE * after.size)
    if len(large) == 0:
        return []
    vectors = features.describe(image, regions)
    return [(vectors[i], int(regions.label[i]), int(now[i])) for i in large]


def _moved(
    features: Features,
    corrected: set[str],
    learnt: _Learnt,
    margin: float,
    moves: Moves,
    progress: Progress,
) -> Iterator[tuple[MaskRow, np.ndarray]]:
    leaving = np.unique(learnt.examples.was[learnt.examples.was != learnt.examples.now]).tolist()
    for row, image, mask, regions in features.regions("propagate", leaving, progress, but=corrected):
        vectors = learnt.normalizer.transform(features.describe(image, regions))
        means = learnt.means_of_others(regions)
        new = reassign(vectors, regions.label, learnt.examples, means, margin)
        moved = new != regions.label
        if not moved.any():
            continue
        columns = (each[moved].tolist() for each in (regions.label, new, regions.area))
        for was, now, area in zip(*columns, strict=True):
            moves[was, now].append(area)
        yield row, regions.paint(new, mask)
