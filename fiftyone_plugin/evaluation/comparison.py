"""How far two segmentations of the same images agree, whatever the numbers of their classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..common.progress import NullProgress, Progress
from ..common.skipped import Skipped
from ..errors import ImageReadError, UsageError
from ..masks.files import read_mask
from .confusion import Contingency, count
from .folders import pair_masks
from .matching import hungarian_counts
from .metrics import adjusted_rand_index, normalized_mutual_info
from .per_image import ImageCounts

__all__ = [
    "ClassMatch",
    "Comparison",
    "compare_counts",
    "compare_folders",
    "compare_masks",
    "count_or_skip",
    "count_pair",
    "match_classes",
]

T = TypeVar("T")


@dataclass(frozen=True)
class ClassMatch:
    """Two classes that stand for each other, or a class without a counterpart.

    Attributes:
        a: class id in the first segmentation, ``None`` if ``b`` has no counterpart.
        b: class id in the second segmentation, ``None`` if ``a`` has no counterpart.
        a_pixels: pixels of class ``a``.
        b_pixels: pixels of class ``b``.
        both: pixels that are ``a`` in the first and ``b`` in the second.
    """

    a: int | None
    b: int | None
    a_pixels: int
    b_pixels: int
    both: int

    @property
    def iou(self) -> float:
        """Intersection over union of the two, in [0, 1]; 0 without a counterpart."""
        union = self.a_pixels + self.b_pixels - self.both
        return self.both / union if union else 0.0


@dataclass(frozen=True)
class Comparison:
    """How far two segmentations agree. Pixels without a label (id 0) are a class of their own.

    Attributes:
        images: number of images compared.
        pixels: number of pixels compared.
        agreement: share of pixels that have matching classes, in [0, 1].
        ari: adjusted Rand index of the pixels' classes; needs no matching.
        nmi: normalised mutual information of the pixels' classes; needs no matching.
        classes: matching classes, those that agree least first; 0 is not listed.
        per_image: name of an image -> share of its pixels that have matching classes.
        skipped: images that could not be compared, with reasons.
    """

    images: int
    pixels: int
    agreement: float
    ari: float
    nmi: float
    classes: tuple[ClassMatch, ...]
    per_image: dict[str, float]
    skipped: tuple[Skipped, ...] = ()


def count_pair(a: np.ndarray, b: np.ndarray) -> Contingency:
    """Count the pixels of two masks, (H, W) ids >= 0, by their two ids.

    Raises:
        UsageError: not two masks of ids of one size.
    """
    if a.shape != b.shape:
        sizes = " and ".join("x".join(map(str, mask.shape[:2])) for mask in (a, b))
        raise UsageError(f"its two masks are {sizes} pixels (height x width)")
    return count(a, b)


def count_or_skip(
    name: str, a: T, b: T, read: Callable[[T], np.ndarray] = np.asarray
) -> Contingency | Skipped:
    """Return :func:`count_pair` of two masks of an image, or why they cannot be compared.

    ``read`` turns what is given into (H, W) ids, or raises ImageReadError.
    """
    try:
        return count_pair(read(a), read(b))
    except (ImageReadError, UsageError) as error:
        return Skipped(name, str(error))


def match_classes(table: Contingency) -> dict[int, int]:
    """Match classes one to one so that most pixels agree (Hungarian); 0 stands for 0, whatever it covers.

    Returns:
        class id of the first -> class id of the second, for classes that share pixels.
    """
    rows, columns = table.pred_ids != 0, table.true_ids != 0
    inner = Contingency(table.pred_ids[rows], table.true_ids[columns], table.counts[np.ix_(rows, columns)])
    return {0: 0, **hungarian_counts(inner)}


def compare_counts(images: ImageCounts, skipped: Iterable[Skipped] = ()) -> Comparison:
    """Compare two segmentations by the counts of their images, the first one in the rows.

    Raises:
        UsageError: no image was counted.
    """
    skipped = tuple(skipped)
    if not len(images):
        raise UsageError(f"there are no two masks to compare. {'; '.join(map(str, skipped[:3]))}".strip())
    table = images.total()
    matching = match_classes(table)
    image, a, b, pixels = images.cells
    partner = np.array([matching.get(int(id_), -1) for id_ in table.pred_ids])
    agreed = np.where(partner[np.searchsorted(table.pred_ids, a)] == b, pixels, 0)
    sizes = np.bincount(image, pixels, len(images))
    shares = np.bincount(image, agreed, len(images)) / np.maximum(1, sizes)
    return Comparison(
        images=len(images),
        pixels=table.pixels,
        agreement=float(agreed.sum() / max(1, table.pixels)),
        ari=float(adjusted_rand_index(table.counts)),
        nmi=float(normalized_mutual_info(table.counts)),
        classes=tuple(_class_matches(table, matching)),
        per_image=dict(zip(images.names, shares.tolist(), strict=True)),
        skipped=skipped,
    )


def _class_matches(table: Contingency, matching: dict[int, int]) -> list[ClassMatch]:
    a_pixels = dict(zip(table.pred_ids.tolist(), table.counts.sum(axis=1).tolist(), strict=True))
    b_pixels = dict(zip(table.true_ids.tolist(), table.counts.sum(axis=0).tolist(), strict=True))
    row, column = ({id_: i for i, id_ in enumerate(pixels)} for pixels in (a_pixels, b_pixels))
    found = []
    for a in a_pixels:
        b = matching.get(a)
        both = int(table.counts[row[a], column[b]]) if b in column else 0
        found.append(ClassMatch(a, b, a_pixels[a], b_pixels.get(b, 0) if b is not None else 0, both))
    matched = set(matching.values())
    found += [ClassMatch(None, b, 0, b_pixels[b], 0) for b in b_pixels if b not in matched]
    classes = [match for match in found if match.a != 0]
    return sorted(classes, key=lambda match: (match.iou, -(match.a_pixels + match.b_pixels)))


def compare_masks(pairs: Iterable[tuple[str, np.ndarray, np.ndarray]]) -> Comparison:
    """Compare two segmentations mask by mask, one image in memory at a time.

    Args:
        pairs: (name, (H, W) ids of the first, (H, W) ids of the second); used once.

    Returns:
        The comparison; pairs of different sizes are left out and listed.

    Raises:
        UsageError: no pair could be compared.

    Example:
        >>> first, second = np.array([[1, 1, 2, 0]]), np.array([[7, 7, 7, 0]])
        >>> compare_masks([("photo", first, second)]).agreement
        0.75
    """
    images, skipped = ImageCounts(), list[Skipped]()
    for name, a, b in pairs:
        _add(name, count_or_skip(name, a, b), images, skipped)
    return compare_counts(images, skipped)


def _add(name: str, found: Contingency | Skipped, images: ImageCounts, skipped: list[Skipped]) -> None:
    if isinstance(found, Skipped):
        skipped.append(found)
    else:
        images.append(name, found)


def compare_folders(a: str | Path, b: str | Path, progress: Progress | None = None) -> Comparison:
    """Compare the masks of two run folders, or of any two folders of masks; they pair by their stems.

    A folder that holds ``masks/`` stands for that one.

    Returns:
        The comparison; masks that cannot be read or have no counterpart are left out and listed.

    Raises:
        UsageError: a folder is missing or empty, or no masks pair.
    """
    found = pair_masks(a, b)
    lonely = [Skipped(name, f"no mask in {b}") for name in found.only_pred]
    lonely += [Skipped(name, f"no mask in {a}") for name in found.only_true]
    images = ImageCounts()
    with (progress or NullProgress()).stage("comparing masks", total=len(found.pairs)) as stage:
        for name, a_path, b_path in found.pairs:
            _add(name, count_or_skip(name, a_path, b_path, read_mask), images, lonely)
            stage.update()
    return compare_counts(images, lonely)
