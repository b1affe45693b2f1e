"""Runs of equal labels down the columns of a mask: components, areas, boxes and RLE of all segments at once.

COCO's run-length encoding goes down the columns. One pass over the pixels finds the runs of the whole mask;
everything after that works on runs, however many segments there are.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

__all__ = ["MAX_LABELS", "Runs", "Segments", "connected_runs", "find_runs", "find_segments"]
__all__ += ["rle_counts", "segment_rles"]

MAX_LABELS = 1 << 16


@dataclass(frozen=True)
class Runs:
    """Runs of equal labels, in column-major order; none reaches over the end of its column.

    Attributes:
        shape: (height, width) of the mask.
        start: (R,) int64, column-major index of the first pixel, ascending.
        length: (R,) int64, pixels, >= 1.
        label: (R,) labels.
    """

    shape: tuple[int, int]
    start: np.ndarray
    length: np.ndarray
    label: np.ndarray

    def paint(self, values: np.ndarray) -> np.ndarray:
        """Return the (H, W) map that has ``values[r]`` in the pixels of run ``r``."""
        height, width = self.shape
        return np.asarray(np.repeat(values, self.length).reshape(width, height).T)


@dataclass(frozen=True)
class Segments:
    """Segments of one mask: disjoint sets of pixels with a label each, ordered by label, then first pixel.

    Attributes:
        runs: the runs of the mask.
        group: (R,) int64, the segment of every run, -1 for label 0.
        label: (S,) int64, >= 1.
        area: (S,) int64, pixels.
        box: (S, 4) int64, tight x, y, width, height in pixels.
        instance: (S,) int64, the given instance, 0 where there is none.
    """

    runs: Runs
    group: np.ndarray
    label: np.ndarray
    area: np.ndarray
    box: np.ndarray
    instance: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def to_map(self) -> np.ndarray:
        """Return the (H, W) int64 map of segments, counted from 1; 0 is none."""
        return self.runs.paint(self.group + 1)


def find_runs(labels: np.ndarray) -> Runs:
    """Find the runs of an (H, W) map of integers, H and W >= 1."""
    height, width = labels.shape
    flat = labels.ravel(order="F")
    begins = np.empty(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    begins[::height] = True
    start = np.flatnonzero(begins)
    return Runs((height, width), start, np.diff(start, append=flat.size), flat[start])


def connected_runs(runs: Runs, connectivity: int = 4) -> np.ndarray:
    """Number the connected components of equal label; ``connectivity`` 4 (sides) or 8 (sides and corners).

    Returns:
        (R,) component of every run; labels do not share components, label 0 has some too.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    height, width = runs.shape
    inner = slice(0, np.searchsorted(runs.start, (width - 1) * height))  # all but the last column's
    start, length = runs.start[inner], runs.length[inner]
    reach = 1 if connectivity == 8 else 0
    column = (start // height + 1) * height
    low = np.maximum(start + height - reach, column)
    high = np.minimum(start + length - 1 + height + reach, column + height - 1)
    first = np.searchsorted(runs.start, low, "right") - 1
    count = np.searchsorted(runs.start, high, "right") - first
    left = np.repeat(np.arange(len(start)), count)
    right = np.arange(len(left)) + np.repeat(first - (np.cumsum(count) - count), count)
    same = runs.label[left] == runs.label[right]
    left, right = left[same], right[same]
    n = len(runs.start)
    graph = coo_matrix((np.ones(len(left), bool), (left, right)), (n, n))
    return np.asarray(connected_components(graph, directed=False)[1])


def find_segments(
    labels: np.ndarray,
    *,
    whole: Collection[int] | None = (),
    instances: np.ndarray | None = None,
    connectivity: int = 4,
) -> Segments:
    """Split a mask into segments.

    Args:
        labels: (H, W) integers within 0..65,535; 0 is unlabelled and belongs to no segment.
        whole: labels that are one segment each, however many parts they have; ``None`` for all.
        instances: (H, W) integers >= 0: pixels of one label and instance are one segment, also in parts;
            those of instance 0 are split as without this.
        connectivity: 4 or 8: what is connected where components are segments.
    """
    if instances is None:
        runs = find_runs(labels)
        label, instance = runs.label.astype(np.int64), np.zeros(len(runs.label), np.int64)
    else:
        runs, label, instance = _pair_runs(labels, instances)
    is_whole = np.isin(label, list(whole)) if whole is not None else np.ones(len(label), bool)
    instance[is_whole] = 0
    # a number for every segment, in three ranges: components, whole labels, pairs of label and instance
    n = len(runs.start)
    key = n + np.where(is_whole, label, MAX_LABELS + runs.label.astype(np.int64))
    parts = ~is_whole & (instance == 0)
    if parts.any():
        key[parts] = connected_runs(runs, connectivity)[parts]
    labelled = np.flatnonzero(label)
    group = np.full(len(label), -1, np.int64)
    _, first, inverse = np.unique(key[labelled], return_index=True, return_inverse=True)
    first_run = labelled[first]
    order = np.lexsort((first, label[first_run]))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    group[labelled] = rank[inverse]
    runs_of = first_run[order]
    area, box = _measure(runs, group, len(order))
    return Segments(runs, group, label[runs_of], area, box, instance[runs_of])


def _pair_runs(labels: np.ndarray, instances: np.ndarray) -> tuple[Runs, np.ndarray, np.ndarray]:
    """Return the runs of equal label and instance, with the label and the instance of every run."""
    numbers, codes = np.unique(instances, return_inverse=True)
    pairs = labels.astype(np.int64) * len(numbers) + codes.reshape(labels.shape)
    runs = find_runs(pairs)
    label, code = np.divmod(runs.label, len(numbers))
    return runs, label, numbers[code].astype(np.int64)


def _measure(runs: Runs, group: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return area (n,) and box (n, 4) of the segments."""
    if n == 0:
        return np.zeros(0, np.int64), np.zeros((0, 4), np.int64)
    order = _by_group(group)
    length = runs.length[order]
    column, top = np.divmod(runs.start[order], runs.shape[0])
    first = np.searchsorted(group[order], np.arange(n))
    left, upper = np.minimum.reduceat(column, first), np.minimum.reduceat(top, first)
    width = np.maximum.reduceat(column, first) + 1 - left
    height = np.maximum.reduceat(top + length, first) - upper
    return np.add.reduceat(length, first), np.stack([left, upper, width, height], axis=1)


def _by_group(group: np.ndarray) -> np.ndarray:
    """Return the runs of all segments, those of one segment side by side and in order."""
    order = np.flatnonzero(group >= 0)
    return order[np.argsort(group[order], kind="stable")]


def rle_counts(segments: Segments) -> list[np.ndarray]:
    """Return COCO's uncompressed counts of every segment: pixels outside, inside, outside, ... by columns."""
    runs, order = segments.runs, _by_group(segments.group)
    if len(order) == 0:
        return []
    owner, start = segments.group[order], runs.start[order]
    end = start + runs.length[order]
    # a run that goes on in the next column continues the one before
    begins = np.ones(len(order), bool)
    begins[1:] = (owner[1:] != owner[:-1]) | (start[1:] != end[:-1])
    heads = np.flatnonzero(begins)
    owner, start, end = owner[heads], start[heads], end[np.append(heads[1:], len(order)) - 1]
    before = np.zeros(len(heads), np.int64)
    before[1:] = np.where(owner[1:] == owner[:-1], end[:-1], 0)
    counts = np.stack([start - before, end - start], axis=1)
    first = np.searchsorted(owner, np.arange(len(segments) + 1))
    size = runs.shape[0] * runs.shape[1]
    rests = size - end[first[1:] - 1]
    return [
        np.append(counts[a:b].ravel(), rest) if rest else counts[a:b].ravel()
        for a, b, rest in zip(first[:-1], first[1:], rests, strict=True)
    ]


def segment_rles(segments: Segments) -> list[dict[str, list[int] | str]]:
    """Return COCO's compressed RLE of every segment: ``{"size": [H, W], "counts": text}``."""
    from pycocotools import mask as coco_mask

    size = list(segments.runs.shape)
    counts = [{"size": size, "counts": values} for values in rle_counts(segments)]
    rles = coco_mask.frPyObjects(counts, *size) if counts else []
    return [{"size": size, "counts": rle["counts"].decode("ascii")} for rle in rles]
