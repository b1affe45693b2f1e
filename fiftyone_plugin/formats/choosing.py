"""Which images of a source are exported, in which split, and which of their pixels are sure enough."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator

import numpy as np

from ..common.skipped import Skipped
from ..errors import ImageReadError, UsageError
from ..masks.files import read_mask
from .base import DRAWN, ExportItem, ExportOptions, ExportSource

__all__ = ["draw_validation", "select", "unsure_pixels"]


def draw_validation(keys: Iterable[str], share: float, seed: int) -> set[str]:
    """Return the keys of the images for validation: those whose hashes, with the seed, are the smallest.

    The order of the keys does not matter, and an image that is added changes the place of few others.

    Args:
        keys: of all images.
        share: of them, above 0 and below 1; at least one image and not all.
        seed: which ones.

    Raises:
        UsageError: there is only one image.
    """
    known = list(keys)
    if len(known) < 2:
        raise UsageError("one image cannot be divided into train and val")
    count = min(max(round(share * len(known)), 1), len(known) - 1)

    def drawn(key: str) -> bytes:
        return hashlib.sha256(f"{seed}:{key}".encode("utf-8", "surrogateescape")).digest()

    return set(heapq.nsmallest(count, known, key=drawn))


def unsure_pixels(item: ExportItem, shape: tuple[int, ...], limit: float) -> np.ndarray | None:
    """Return the (H, W) pixels whose confidence is below a limit, ``None`` without a limit.

    The map of confidence is coarser than the mask and enlarged linearly.

    Raises:
        ImageReadError: there is no such map, or it cannot be read.
    """
    from PIL import Image

    if not limit:
        return None
    if item.confidence is None:
        raise ImageReadError(item.key, "no map of confidence beside its mask; leave out min_confidence")
    coarse = read_mask(item.confidence)
    if coarse.dtype != np.uint8:
        raise ImageReadError(item.confidence, "is no map of confidence from 0 to 255")
    fine = Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(fine) < limit * 255


def select(
    source: ExportSource, options: ExportOptions, skipped: list[Skipped]
) -> Iterator[tuple[ExportItem, str, bool]]:
    """Yield items with their split, and whether they are marked; list those that the choices leave out."""
    known = None
    if options.like:
        from .coco import read_like

        known = read_like(options.like).images
    keys = (item.key for item in source.items())
    drawn = draw_validation(keys, options.val, options.seed) if options.val else None
    for item in source.items():
        found = [split for split in options.splits if split in item.tags]
        if drawn is not None:
            found = [DRAWN[item.key in drawn]]
        quality = item.known_quality
        low = options.min_quality is not None and (quality or 0.0) < options.min_quality
        if any(c in item.key for c in "\r\n"):
            skipped.append(Skipped(item.key, "a line break in its name: lists have a line an image"))
        elif known is not None and item.key not in known:
            skipped.append(Skipped(item.key, f"no image of this name in {options.like}"))
        elif len(found) > 1:
            skipped.append(Skipped(item.key, f"in more than one split: {', '.join(found)}"))
        elif options.splits and not found:
            skipped.append(Skipped(item.key, "in no split", expected=True))
        elif low and options.low_quality == "drop":
            shown = "unknown" if quality is None else f"{quality:.3f}"
            skipped.append(Skipped(item.key, f"quality {shown}", expected=True))
        else:
            yield item, found[0] if found else "", low
