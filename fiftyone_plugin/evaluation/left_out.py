"""What an evaluation leaves out, counted and named: samples, pairs of masks, pixels."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.skipped import Skipped
from ..common.text import short_list
from ..errors import UsageError

if TYPE_CHECKING:
    from .result import EvaluationResult

__all__ = ["LeftOut", "left_out_line", "left_out_lines", "without_name"]

# ids without a name that a result lists, those with most pixels first
LISTED_IDS = 100


class LeftOut:
    """Collects what is left out.

    Attributes:
        samples: ids of the samples that take no part, for whatever reason.
        skipped: the images among them whose masks are damaged or do not fit.
        unnamed: pixels of the ground truth whose id has no name, by id.
        unnamed_images: images that have such pixels.
    """

    def __init__(self) -> None:
        self.samples: list[str] = []
        self.skipped: list[Skipped] = []
        self.unnamed: Counter[int] = Counter()
        self.unnamed_images = 0

    def add(self, sample_id: str, reason: Skipped | None) -> None:
        """Add a sample; without a reason it only lacks one of the two masks."""
        self.samples.append(sample_id)
        if reason is not None:
            self.skipped.append(reason)

    def count_unnamed(self, pixels: dict[int, int]) -> None:
        """Add the pixels of one image that have ids without a name, by id."""
        self.unnamed.update(pixels)
        self.unnamed_images += bool(pixels)

    def settings(self) -> dict[str, Any]:
        """Return it as JSON-serialisable settings of a result."""
        found: dict[str, Any] = {
            "left_out": self.samples,
            "skipped": [[entry.key, entry.reason] for entry in self.skipped],
        }
        if self.unnamed:
            found["unnamed"] = {
                "pixels": sum(self.unnamed.values()),
                "images": self.unnamed_images,
                "n_ids": len(self.unnamed),
                "ids": {str(id_): pixels for id_, pixels in self.unnamed.most_common(LISTED_IDS)},
            }
        return found

    def require_named(self, scored: int) -> None:
        """Refuse to go on if not a pixel is left for want of names.

        Raises:
            UsageError: ``scored`` is 0 and there are ids without a name.
        """
        if self.unnamed and not scored:
            raise UsageError(
                f"nothing to score: no id of the ground truth has a name ({short_ids(self.unnamed)}); "
                "name them in the mask targets, or give the ids to ignore"
            )


def without_name(true: np.ndarray, names: dict[int, str]) -> dict[int, int]:
    """Return the ids of an (H, W) mask that have no name, and their pixels."""
    if true.dtype == np.uint8:
        counts = np.bincount(true.ravel(), minlength=256)
        ids = np.flatnonzero(counts)
        pixels = counts[ids]
    else:
        ids, pixels = np.unique(true, return_counts=True)
    return {id_: n for id_, n in zip(ids.tolist(), pixels.tolist(), strict=True) if id_ not in names}


def short_ids(ids: Any) -> str:
    """Return the lowest ids as text, and how many more there are."""
    return short_list(sorted(ids))[1:-1]


def left_out_lines(result: EvaluationResult) -> list[str]:
    """Return a line on images that could not be compared, and one on pixels without a name, as far as any."""
    lines = [line] if (line := left_out_line(result)) else []
    unnamed = result.settings.get("unnamed")
    if unnamed:
        n = unnamed["n_ids"]
        more = f", and {n - LISTED_IDS:,} more" if n > LISTED_IDS else ""
        lines.append(
            f"ids of the ground truth without a name take no part: {short_ids(result.unnamed)}{more} "
            f"({_count(unnamed['pixels'], 'pixel')} in {_count(unnamed['images'], 'image')})"
        )
    return lines


def left_out_line(result: EvaluationResult) -> str:
    """Return one line on the images that could not be compared, ``""`` if there are none."""
    skipped = result.skipped
    if not skipped:
        return ""
    first = f"{skipped[0].key}: {skipped[0].reason}"
    rest = f"; and {len(skipped) - 1:,} more" if len(skipped) > 1 else ""
    return f"{_count(len(skipped), 'image')} left out, with masks that cannot be compared: {first}{rest}"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
