"""Which views can be labelled; light enough for forms."""

from __future__ import annotations

from typing import Any

from .errors import UsageError

__all__ = ["all_samples", "check_view"]

ADVICE = {
    "group": "pick the images of a group slice first: view.select_group_slices(media_type='image')",
    "video": "sample frames to a dataset first: dataset.to_frames(sample_frames=True).clone()",
}
ONLY_IMAGES = "only images can be labelled"


def check_view(view: Any) -> None:
    """Check that a dataset or view holds plain images.

    Raises:
        UsageError: it is empty, or its samples are something else.
    """
    if getattr(view, "_is_generated", False):
        raise UsageError("this is a view of patches, frames or clips: open the view of the images themselves")
    if len(view) == 0:
        raise UsageError("the view is empty: add images, or clear its filters")
    if view.media_type != "image":
        raise UsageError(
            f"samples are of type {view.media_type!r}: {ADVICE.get(view.media_type, ONLY_IMAGES)}"
        )


def all_samples(dataset: Any) -> Any:
    """Return the samples of a dataset; those of every slice where it is grouped, not of the active one."""
    return dataset.select_group_slices(_allow_mixed=True) if dataset.media_type == "group" else dataset
