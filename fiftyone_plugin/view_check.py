"""Which views can be labelled; light enough for forms."""

from __future__ import annotations

from typing import Any

from .errors import UsageError

__all__ = ["all_samples", "check_view", "is_empty", "labelled_slices"]

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
    if getattr(view, "_is_dynamic_groups", False):
        raise UsageError("this is a view of groups made by a field: open its images first, view.flatten()")
    if is_empty(view):
        raise UsageError("the view is empty: add images, or clear its filters")
    if view.media_type != "image":
        raise UsageError(
            f"samples are of type {view.media_type!r}: {ADVICE.get(view.media_type, ONLY_IMAGES)}"
        )


def is_empty(samples: Any) -> bool:
    """Return whether a dataset or view has no samples.

    ``len(dataset)`` is the database's estimate, which may be 0 after the database was killed.
    """
    return len(samples) == 0 and not samples.limit(1).values("id")


def all_samples(samples: Any) -> Any:
    """Return the samples of a dataset or view, of a grouped one those of every slice."""
    if getattr(samples, "_is_dynamic_groups", False):
        samples = samples.flatten()
    return samples.select_group_slices(_allow_mixed=True) if samples.media_type == "group" else samples


def labelled_slices(samples: Any, field: str) -> Any:
    """Return the samples of a dataset or view, of a grouped one those of the slices that show a field.

    Where no slice shows it, those of all slices.
    """
    everything = all_samples(samples)
    if everything is samples or not samples._dataset.has_sample_field(field):
        return everything
    group = samples._dataset.group_field
    slices = everything.exists(field).distinct(f"{group}.name") if group else []
    kinds = {samples._dataset.group_media_types.get(name) for name in slices}
    return samples.select_group_slices(sorted(slices)) if len(kinds) == 1 else everything
