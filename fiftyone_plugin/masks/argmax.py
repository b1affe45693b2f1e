"""The label of every pixel of a large image, without the scores of all labels at its size.

Equal, byte for byte, to enlarging all scores with :func:`~.upsample.resize_scores` and taking the ``argmax``.
Pillow enlarges along the rows first, then down the columns, and both are linear between two neighbours: so
the rows of the coarse map are stretched two at a time, and the pixel rows between the two are a band. Where
one label leads at both ends of a column of the band it leads in between, and nothing is computed. Elsewhere
it is computed as Pillow does it: in float64, rounded to float32.
"""

from __future__ import annotations

import numpy as np

from .upsample import resize_scores

__all__ = ["winners"]

ROW = 1 << 15  # scores at native size that take as long, label by label, as a row of the coarse map here
BLOCK = 1 << 14  # pixels computed at a time: what stays in a core's cache


def winners(scores: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return ``resize_scores(scores, height, width).argmax(0)`` in bounded memory.

    Beside the result, memory grows with ``L * width`` and, where an image is smaller than its scores along
    one side or little larger than them, by 10 bytes a pixel; never with ``L * height * width``.

    Args:
        scores: (L, h, w) float, finite, L < 65,536.
        height: of the image, >= 1.
        width: of the image, >= 1.

    Returns:
        (height, width) uint8 indices of labels, uint16 for more than 256 labels; the first of equal ones.
    """
    scores = np.asarray(scores, dtype=np.float32)
    kind = np.uint8 if len(scores) <= 256 else np.uint16
    shrinks = height < scores.shape[1] or width < scores.shape[2]
    if shrinks or len(scores) * height * width <= scores.shape[1] * ROW:
        return _label_by_label(scores, height, width, kind)
    return _band_by_band(scores, height, width, kind)


def _label_by_label(scores: np.ndarray, height: int, width: int, kind: type) -> np.ndarray:
    best = resize_scores(scores[:1], height, width)[0]
    found: np.ndarray = np.zeros((height, width), kind)
    for label in range(1, len(scores)):
        values = resize_scores(scores[label : label + 1], height, width)[0]
        found[values > best] = label
        best = np.maximum(best, values)  # not in place: of an image as large as the scores it is theirs
    return found


def _band_by_band(scores: np.ndarray, height: int, width: int, kind: type) -> np.ndarray:
    found: np.ndarray = np.empty((height, width), kind)
    tolerance = np.float32(np.abs(scores).max() * 2.0**-20)  # rounding to float32 errs by 2^-24
    first, weights = _weights(scores.shape[1], height)
    ends = np.append(np.flatnonzero(np.diff(first)) + 1, height)
    rows: dict[int, _Row] = {}
    start = 0
    for end in ends.tolist():
        source = int(first[start])
        pair = (source, min(source + 1, scores.shape[1] - 1))
        rows = {i: rows.get(i) or _Row(scores[:, i], width, tolerance) for i in pair}
        _fill_band(found[start:end], rows[pair[0]], rows[pair[1]], weights[start:end], tolerance)
        start = end
    return found


class _Row:
    """A row of the coarse map at the width of the image: scores (L, W), who leads, and where clearly."""

    def __init__(self, scores: np.ndarray, width: int, tolerance: np.float32) -> None:
        self.scores = resize_scores(scores[None], len(scores), width)[0]  # rows do not mix
        self.first = self.scores.argmax(0)
        columns = np.arange(width)
        top = self.scores[self.first, columns]
        others = self.scores.copy()
        others[self.first, columns] = -np.inf
        self.clear = top - others.max(0) > tolerance


def _weights(size: int, enlarged: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Pillow's (N,) first neighbours of enlarged pixels and (N, 2) weights of them and the next."""
    centre = (np.arange(enlarged) + 0.5) * (size / enlarged)
    first = np.maximum((centre - 0.5).astype(np.int64), 0)
    both = first[:, None] + np.arange(2)
    weights = np.maximum(1.0 - np.abs(both - centre[:, None] + 0.5), 0.0)
    inside = both < np.minimum((centre + 1.5).astype(np.int64), size)[:, None]
    weights = np.where(inside, weights, 0.0)
    return first, weights / (weights[:, :1] + weights[:, 1:])


def _fill_band(
    found: np.ndarray, upper: _Row, lower: _Row, weights: np.ndarray, tolerance: np.float32
) -> None:
    found[:] = upper.first
    columns = np.flatnonzero(~(upper.clear & lower.clear & (upper.first == lower.first)))
    if len(columns) == 0:
        return
    labels, counts = _candidates(upper.scores[:, columns], lower.scores[:, columns], tolerance)
    order = np.argsort(-counts, kind="stable")  # the columns that need the n-th label stand in front
    columns, labels, counts = columns[order], labels[:, order], counts[order]
    step = max(1, BLOCK // len(found))
    for start in range(0, len(columns), step):
        part = slice(start, start + step)
        depth = int(counts[start])
        rows = [row.scores[labels[:depth, part], columns[part]] for row in (upper, lower)]
        _fill_part(found, columns[part], labels[:depth, part], counts[part], rows, weights)


def _candidates(upper: np.ndarray, lower: np.ndarray, tolerance: np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels that may lead somewhere between two rows of (L, n) scores, and how many there are.

    One that is below what some other label has at both ends does not. They are (K, n), ascending in each
    column, then anything.
    """
    may = np.maximum(upper, lower) >= np.minimum(upper, lower).max(0) - tolerance
    counts = may.sum(0)
    place = np.cumsum(may, axis=0) - 1
    label, column = np.nonzero(may)
    labels = np.zeros((int(counts.max()), upper.shape[1]), np.int32)
    labels[place[label, column], column] = label
    return labels, counts


def _fill_part(
    found: np.ndarray,
    columns: np.ndarray,
    labels: np.ndarray,
    counts: np.ndarray,
    rows: list[np.ndarray],
    weights: np.ndarray,
) -> None:
    """Compute some columns of a band: (K, n) labels with scores (K, n) at both ends, (R, 2) weights."""
    upper, lower = rows
    shape = (len(weights), len(columns))
    above, below = weights[:, :1], weights[:, 1:]
    best = np.full(shape, -np.inf, np.float32)
    winner = np.empty(shape, found.dtype)
    narrow = labels.astype(found.dtype)
    for k in range(len(labels)):
        n = int(np.searchsorted(-counts, -k))  # columns with more than k labels
        values = above * upper[k, :n]
        values += below * lower[k, :n]
        scores = values.astype(np.float32)
        leads = scores > best[:, :n]
        np.copyto(winner[:, :n], narrow[k, :n], where=leads)
        np.maximum(best[:, :n], scores, out=best[:, :n])
    found[:, columns] = winner
