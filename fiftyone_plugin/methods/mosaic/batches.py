"""What of a batch is worked on at once, so that an image does not depend on the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...features.types import FeatureBatch

__all__ = ["groups_of", "image_by_image"]


def image_by_image(batch: FeatureBatch) -> Iterator[FeatureBatch]:
    """Yield what of a batch is worked on at once: all of it, or on a CPU image by image.

    There the libraries choose other kernels, which round otherwise, for other numbers of rows; an image that
    is treated alone does not depend on the rest of its batch.
    """
    for rows in groups_of(range(len(batch)), str(next(iter(batch.tensors.values())).device)):
        tensors = {name: tensor[rows[0] : rows[-1] + 1] for name, tensor in batch.tensors.items()}
        yield FeatureBatch([batch.images[row] for row in rows], tensors)


def groups_of(rows: Sequence[int], device: str) -> list[Sequence[int]]:
    """Return the rows that are worked on at once, see :func:`image_by_image`."""
    if device == "cpu" or not rows:
        return [[row] for row in rows]
    return [rows]
