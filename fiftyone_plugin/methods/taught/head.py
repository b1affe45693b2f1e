"""A linear head on labelled patches, mixed with named clusters; how it is learnt.

The head is a multinomial logistic regression on the principal components of the stacked tokens as they are:
whitened, as clusters want them, one labelled image teaches a third of it (benchmarks/notes/teaching.md). The
classes are weighed by their rarity, and one round of self-training follows, in which the surer half of every
predicted class of the unlabelled images is learnt too (CBST: Zou et al., "Unsupervised domain adaptation for
semantic segmentation via class-balanced self-training", ECCV 2018, section 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...clustering.head import ABSENT, fit_soft_head, probabilities
from ...clustering.spreading import spread_scores
from .lesson import Lesson, Pupil

__all__ = ["TaughtHead", "discovered", "learn", "lifts", "mixed", "predict"]

STRENGTH = 10.0  # C of the logistic regression, for vectors of a mean square of 1
BALANCE = 0.35  # exponent of the rarity that classes are weighed by
RAREST = 1e-3  # share of a class below which it weighs no more
SURE = 0.5  # of every predicted class, the share that is learnt
MIXES = (1.0, 0.85, 0.7, 0.5, 0.3, 0.0)
UNTESTED = 0.5  # of the head, where one labelled image leaves nothing to test on
LIFT = 4.0  # of classes that clusters cannot vote for, over what the clusters weigh
FOLDS = 5
TESTED = 15  # labelled images that are tested on, at most
SLACK = 0.1  # of an IoU, over the number of labelled images
KNOWN = 0.25  # a cluster is known whose share in labelled images is as large a part of its share in all
MOST = 40_000  # labelled patches that are learnt from, at most


@dataclass(frozen=True)
class TaughtHead:
    """What was learnt.

    Attributes:
        weight: (d, C) float32.
        bias: (C,) float32; -1e9 for a class that no labelled image shows.
        matrix: (K, C) float32 names of clusters, see :class:`~.lesson.Lesson`.
        mix: what the head weighs beside the clusters, among the classes that labelled images show, 0..1.
        spread: share the scores among similar patches of an image.
    """

    weight: np.ndarray
    bias: np.ndarray
    matrix: np.ndarray
    mix: float
    spread: bool

    @property
    def seen(self) -> np.ndarray:
        """(C,) bool: labelled images show the class."""
        return np.asarray(self.bias > ABSENT / 10)


def lifts(matrix: np.ndarray, seen: np.ndarray, mix: float) -> np.ndarray:
    """Return the (C,) float32 factors of the scores; above 1 where the head alone can speak for a class.

    A class that no cluster is named after gets no vote of theirs: what the head gives it would have to
    outvote all clusters, which one labelled image never does.

    Args:
        matrix: (K, C) float32 names of clusters.
        seen: (C,) bool.
        mix: weight of the head, 0..1.
    """
    alone = seen & ~matrix.any(0) & bool(matrix.any())
    return np.where(alone, 1 + LIFT * (1 - mix), 1).astype(np.float32)


def mixed(by_head: np.ndarray, by_clusters: np.ndarray, seen: np.ndarray, mix: float) -> np.ndarray:
    """Return the (n, C) probabilities of what both say.

    Classes that no labelled image shows are left to the clusters; what clusters without a name hold, to the
    head.

    Args:
        by_head: (n, C) float32, rows sum to 1, 0 where ``seen`` is not.
        by_clusters: (n, C) float32, rows sum to at most 1.
        seen: (C,) bool.
        mix: weight of the head, 0..1.
    """
    if not seen.any():
        return by_clusters
    inside = (by_clusters * seen).sum(1, keepdims=True)
    unnamed = (1 - by_clusters.sum(1, keepdims=True)).clip(0)
    kept = np.where(seen, 1 - mix, 1.0).astype(np.float32)
    return np.asarray(by_clusters * kept + (mix * inside + unnamed) * by_head)


def learn(lesson: Lesson, spread: bool, width: int) -> TaughtHead:
    """Learn from labelled images, others, and names of clusters; without the first the names alone count.

    Args:
        lesson: all of it.
        spread: whether to share scores among similar patches, where labelled images cannot tell.
        width: of the vectors.
    """
    matrix = lesson.matrix
    if not lesson.labelled:
        weight, bias = np.zeros((width, matrix.shape[1])), np.full(matrix.shape[1], ABSENT)
        return TaughtHead(weight.astype(np.float32), bias.astype(np.float32), matrix, 0.0, spread)
    x, y = _rows(lesson.labelled)
    weight, bias = _fit(x, y)
    mix, spread = _choose(lesson, spread)
    head = TaughtHead(weight, bias, matrix, mix, spread)
    if lesson.others:
        more_x, more_y = _surest(head, lesson.others)
        more_y *= y.sum() / max(1.0, more_y.sum())  # they weigh as much as the labelled ones
        weight, bias = _fit(np.concatenate([x, more_x]), np.concatenate([y, more_y]))
    return TaughtHead(weight, bias, matrix, mix, spread)


def predict(head: TaughtHead, pupil: Pupil, mix: float | None = None) -> np.ndarray:
    """Return the (n, C) float32 probabilities of an image, not spread."""
    by_clusters = pupil.clusters @ head.matrix
    if not head.seen.any():
        return np.asarray(by_clusters)
    mix = head.mix if mix is None else mix
    by_head = probabilities(pupil.vectors, head.weight, head.bias)
    scores = mixed(by_head, by_clusters, head.seen, mix) * lifts(head.matrix, head.seen, mix)
    return np.asarray(scores / scores.sum(1, keepdims=True))


def _rows(pupils: Sequence[Pupil]) -> tuple[np.ndarray, np.ndarray]:
    """Return the labelled patches and their shares; of many images every second, third, ... patch."""
    kept = []
    for pupil in pupils:
        assert pupil.shares is not None
        kept.append((pupil, np.flatnonzero(pupil.shares.sum(1) > 0)))
    step = -(-sum(len(rows) for _, rows in kept) // MOST) or 1
    x = [pupil.vectors[rows[::step]] for pupil, rows in kept]
    y = [pupil.shares[rows[::step]] for pupil, rows in kept if pupil.shares is not None]
    return np.concatenate(x), np.concatenate(y)


def _fit(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weight and bias of the head for patches and what each of them weighs for each class."""
    share = y.sum(0) / y.sum()
    rarity = np.maximum(share, RAREST) ** -BALANCE
    return fit_soft_head(x, y * (rarity / (rarity * share).sum()), STRENGTH)


def _surest(head: TaughtHead, others: Sequence[Pupil]) -> tuple[np.ndarray, np.ndarray]:
    """Return patches of unlabelled images, and 1 for the class of which each is among the surest."""
    scores = np.concatenate([predict(head, pupil) for pupil in others])
    x = np.concatenate([pupil.vectors for pupil in others])
    best = scores.argmax(1)
    sure = scores[np.arange(len(best)), best]
    rows = []
    for class_ in np.flatnonzero(head.seen):
        own = np.flatnonzero(best == class_)
        rows.append(own[np.argsort(-sure[own], kind="stable")[: max(1, int(len(own) * SURE))]])
    taken = np.sort(np.concatenate(rows)) if rows else np.zeros(0, np.int64)
    return x[taken], np.eye(scores.shape[1], dtype=np.float32)[best[taken]]


def _choose(lesson: Lesson, spread: bool) -> tuple[float, bool]:
    """Return mix and spreading that are best on labelled images that a head has not learnt from."""
    named = bool(lesson.matrix.any())
    mixes = MIXES if named else (1.0,)
    if len(lesson.labelled) < 2:
        return (UNTESTED if named else 1.0), spread and named
    folds = min(FOLDS, len(lesson.labelled))
    c = lesson.matrix.shape[1]
    counts = {(mix, way): np.zeros((3, c)) for mix in mixes for way in (False, True)}
    for fold in range(folds):
        x, y = _rows([one for i, one in enumerate(lesson.labelled) if i % folds != fold])
        weight, bias = _fit(x, y)
        head = TaughtHead(weight, bias, lesson.matrix, 1.0, False)
        for pupil in lesson.labelled[fold::folds][: -(-TESTED // folds)]:
            for mix in mixes:
                scores = predict(head, pupil, mix)
                counts[mix, False] += _counts(scores, pupil)
                counts[mix, True] += _counts(_spread(scores, pupil), pupil)
    found = {way: _mean_iou(counted) for way, counted in counts.items()}
    # heads of folds have seen fewer images than the one that is to be: of what is nearly as good, more head
    near = max(found.values()) - SLACK / len(lesson.labelled)
    mix = max(mix for (mix, _), score in found.items() if score >= near)
    return mix, found[mix, True] > found[mix, False]


def _spread(scores: np.ndarray, pupil: Pupil) -> np.ndarray:
    import torch

    values = torch.from_numpy(np.ascontiguousarray(scores, np.float32))[None]
    near = torch.from_numpy(np.asarray(pupil.neighbours, np.int64))[None]
    return np.asarray(spread_scores(values, near)[0].numpy())


def _counts(scores: np.ndarray, pupil: Pupil) -> np.ndarray:
    """Return (3, C): what was found of each class, what there is of it, and what was taken for it."""
    assert pupil.shares is not None
    won = np.eye(scores.shape[1])[scores.argmax(1)]
    shares = pupil.shares.astype(np.float64)
    return np.stack([(won * shares).sum(0), shares.sum(0), (won * shares.sum(1, keepdims=True)).sum(0)])


def _mean_iou(counts: np.ndarray) -> float:
    found, there, taken = counts
    return float((found / np.maximum(there + taken - found, 1e-9))[there > 0].mean())


def discovered(head: TaughtHead, lesson: Lesson, count: int) -> list[int]:
    """Return up to ``count`` clusters that are large, hardly in labelled images, and unclear to the head.

    Without unlabelled images nothing is new.
    """
    if not lesson.others or not lesson.labelled:
        return []
    told = np.concatenate([one.clusters[_labelled(one)] for one in lesson.labelled]).mean(0)
    all_ = np.concatenate([one.clusters for one in lesson.others])
    sure = np.concatenate([_margin(head, one.vectors) for one in lesson.others])
    mass = all_.mean(0)
    unclear = 1 - (all_ * sure[:, None]).mean(0) / np.maximum(mass, 1e-9)
    new = mass * unclear * (told < KNOWN * mass) * ~lesson.matrix.any(1)
    order = np.argsort(-new, kind="stable")[:count]
    return sorted(int(cluster) for cluster in order if new[cluster] > 0)


def _labelled(pupil: Pupil) -> np.ndarray:
    assert pupil.shares is not None
    return np.asarray(pupil.shares.sum(1) > 0)


def _margin(head: TaughtHead, vectors: np.ndarray) -> np.ndarray:
    """Return by how much the best class leads the second best, (n,)."""
    found = probabilities(vectors, head.weight, head.bias)
    if found.shape[1] < 2:
        return np.zeros(len(found), np.float32)
    two = np.partition(found, found.shape[1] - 2, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0])
