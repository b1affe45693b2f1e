"""Regions of Mosaic: every image cut by k-means in several ways, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...clustering.kmeans import ReproducibleKMeans
from ...clustering.region_classes import pool_regions
from ..lightcluster.votes import Levels

__all__ = ["CutTask", "ImageRegions", "RegionTable", "cut_image", "cut_labels", "owner_of"]


@dataclass
class CutTask:
    """One image to cut.

    Attributes:
        tokens: (n, D) float32 stacked tokens.
        cuts: for each cut the (n, d) vectors to cut by, and the number of regions.
        cue: (n, D') features of the foreground cue, ``None`` for none.
        cls: CLS feature.
        grid: (h, w), h * w = n.
        digest: of the image.
        n_patches: patches to draw for the head.
        seed: of this image.
    """

    tokens: np.ndarray
    cuts: list[tuple[np.ndarray, int]]
    cue: np.ndarray | None
    cls: np.ndarray
    grid: tuple[int, int]
    digest: str
    n_patches: int
    seed: int


@dataclass
class ImageRegions:
    """What is kept of one image.

    Attributes:
        descriptors: (R, D) float16 mean tokens of the regions of all cuts.
        foreground: (R,) float32 mean foreground probability.
        patches: (m, D) float16 drawn patches.
        region_of_patch: (m, cuts) int64 regions they lie in.
        owner: number of the image, from its digest.
    """

    descriptors: np.ndarray
    foreground: np.ndarray
    patches: np.ndarray
    region_of_patch: np.ndarray
    owner: int


class RegionTable:
    """Descriptors of all regions of all cuts, and sampled patches with the regions they lie in."""

    def __init__(self, n_cuts: int) -> None:
        self.n_cuts = n_cuts
        self.descriptors: list[np.ndarray] = []
        self.foreground: list[np.ndarray] = []
        self.patches: list[np.ndarray] = []
        self.region_of_patch: list[np.ndarray] = []
        self.owners: list[np.ndarray] = []
        self._count = 0

    def add(self, cut: ImageRegions) -> None:
        """Add one image."""
        self.descriptors.append(cut.descriptors)
        self.foreground.append(cut.foreground)
        self.patches.append(cut.patches)
        self.region_of_patch.append(cut.region_of_patch + self._count)
        self.owners.append(np.full(len(cut.descriptors), cut.owner, np.int64))
        self._count += len(cut.descriptors)

    def join_descriptors(self) -> np.ndarray:
        """Return the (n, D) float16 descriptors of all images."""
        return np.concatenate(self.descriptors)


def cut_image(levels: Levels | None, task: CutTask) -> ImageRegions:
    """Cut one image into regions in every way; runs in a worker process."""
    n = len(task.tokens)
    foreground = np.zeros(n, np.float32)
    if levels is not None and task.cue is not None:
        foreground = levels.vote(task.cue, task.cls, task.grid, task.digest)[1].ravel()
    take = np.sort(np.random.default_rng(task.seed).permutation(n)[: task.n_patches])
    descriptors, inside, region_of_patch = [], [], []
    count = 0
    for vectors, number in task.cuts:
        labels = cut_labels(vectors, number, task.seed)
        _, pooled, share = pool_regions(task.tokens, labels)
        descriptors.append(pooled)
        inside.append(np.bincount(labels, weights=foreground) / (share * n))
        region_of_patch.append(labels[take] + count)
        count += len(pooled)
    return ImageRegions(
        np.concatenate(descriptors).astype(np.float16),
        np.concatenate(inside).astype(np.float32),
        task.tokens[take].astype(np.float16),
        np.stack(region_of_patch, axis=1),
        owner_of(task.digest),
    )


def owner_of(digest: str) -> int:
    """Return the number that stands for an image among others, from its hexadecimal digest."""
    return int(digest[:15], 16)


def cut_labels(vectors: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Return (n,) int64 regions 0..R-1, each of which occurs."""
    kmeans = ReproducibleKMeans(n_clusters, n_init=1, max_iter=30, random_state=seed)
    return kmeans.fit(vectors).labels_.astype(np.int64)
