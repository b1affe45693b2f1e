"""Clusters that no labelled image shows: what a person has not told of yet."""

from __future__ import annotations

import numpy as np

from ...clustering.head import probabilities
from .head import TaughtHead
from .lesson import Lesson, Pupil

__all__ = ["discovered"]

KNOWN = 0.25  # a cluster is known whose share in labelled images is as large a part of its share in all


def discovered(head: TaughtHead, lesson: Lesson, count: int) -> list[int]:
    """Return the clusters that are large, hardly in labelled images, and unclear to the head.

    Args:
        head: what was learnt without them.
        lesson: labelled images and others; without others nothing is new.
        count: how many at most.
    """
    if not lesson.others or not lesson.labelled:
        return []
    told = np.concatenate([one.clusters[_labelled(one)] for one in lesson.labelled]).mean(0)
    all_ = np.concatenate([one.clusters for one in lesson.others])
    sure = np.concatenate([_margin(head, one.vectors) for one in lesson.others])
    mass = all_.mean(0)
    unclear = 1 - (all_ * sure[:, None]).mean(0) / np.maximum(mass, 1e-9)
    new = mass * unclear * (told < KNOWN * mass) * ~lesson.evidence.matrix.any(1)
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
