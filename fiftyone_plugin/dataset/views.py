"""Saved views that a run brings along: which masks to look at first, which to accept, where rare classes are.

A saved view of this package begins its description with the key of the run that it belongs to. That tells it
from what people save, whatever its name, and goes along when a dataset is cloned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..images.listing import labelled_slices
from .keys import numbered
from .record import RunFields, stored, update_record
from .summary import class_counts, score_field

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection as View

__all__ = ["OwnView", "delete_views", "follow_classes", "list_views", "rare_classes", "rare_view"]
__all__ += ["save_own_view", "save_views"]

REVIEW, ACCEPT, RARE = "review first", "accept", "rare classes"
REVIEW_SHARE = 0.2  # of the labelled images; docs/quality.md measures this and the next
ACCEPT_SHARE = 0.4
RARE_SHARE = 0.05


@dataclass(frozen=True)
class OwnView:
    """A saved view that belongs to a run."""

    name: str
    purpose: str  # e.g. "review first"
    text: str  # one sentence on what it shows


def save_views(dataset: Dataset, run_key: str) -> dict[str, str]:
    """Do what :func:`create_views` does, for a caller that has noted it in the record of the run."""
    field = stored(dataset, run_key, "field")
    delete_views(dataset, run_key)
    views = {**_by_quality(dataset, field), **_rare(dataset, field)}
    names = {
        purpose: save_own_view(dataset, run_key, view, purpose, f"{field}: {purpose}", text)
        for purpose, (view, text) in views.items()
    }
    update_record(dataset, run_key, saved_views=names)
    return names


def rare_view(dataset: Dataset, run_key: str) -> str | None:
    """Return the name of a run's view of rare classes, ``None`` if there is none."""
    return next((view.name for view in list_views(dataset, run_key, RARE)), None)


def follow_classes(dataset: Dataset, run_key: str, name: str) -> None:
    """Save a run's view of rare classes anew, after classes have got other names or masks.

    It goes if no class is rarer than others any more. Called again after it was cut short, it does the same.
    ``name`` is the one that the view had, see :func:`rare_view`.
    """
    delete_views(dataset, run_key, RARE)
    for view, text in _rare(dataset, stored(dataset, run_key, "field")).values():
        save_own_view(dataset, run_key, view, RARE, name, text)


def list_views(dataset: Dataset, run_key: str, only: str | None = None) -> list[OwnView]:
    """Return the saved views that belong to a run, or those of one purpose, under the names they have now."""
    start = _mark(run_key)
    own = []
    for info in dataset.list_saved_views(info=True):
        description = info["description"] or ""
        if description.startswith(start):
            purpose, _, text = description.removeprefix(start).partition(": ")
            own.append(OwnView(info["name"], purpose, text))
    return [view for view in own if only in (None, view.purpose)]


def delete_views(dataset: Dataset, run_key: str, only: str | None = None) -> None:
    """Delete the saved views that belong to a run, or those of one purpose, and no others."""
    for view in list_views(dataset, run_key, only):
        dataset.delete_saved_view(view.name)


def save_own_view(dataset: Dataset, run_key: str, view: View, purpose: str, name: str, text: str) -> str:
    """Save a view that belongs to a run, under ``name`` or one like it if that is taken; returns the name.

    ``purpose`` is a word or two without a colon, ``text`` one sentence on what the view shows.
    """
    name = _free_name(dataset, name)
    dataset.save_view(name, view, description=f"{_mark(run_key)}{purpose}: {text}")
    return name


def rare_classes(counts: Mapping[str, int], labelled: int) -> list[str]:
    """Return the names of rare classes, rarest first, by the number of images that show each.

    Rare are classes in at most one image of twenty of the ``labelled`` ones, else those in the fewest; none
    where all classes are in the same number of images. Classes of no image do not count.
    """
    shown = {name: count for name, count in counts.items() if count}
    if len(set(shown.values())) < 2:
        return []
    limit = max(RARE_SHARE * labelled, min(shown.values()))
    return sorted((name for name in shown if shown[name] <= limit), key=lambda name: (shown[name], name))


def _mark(run_key: str) -> str:
    return f"Run {run_key}, "


def _free_name(dataset: Dataset, name: str) -> str:
    """Return ``name``, or ``name 2``, ... ; names that become the same address in the App clash as well."""
    from fiftyone.core.utils import to_slug

    taken = {to_slug(other) for other in dataset.list_saved_views()}
    return next(free for free in numbered(name, " ") if to_slug(free) not in taken)


def _by_quality(dataset: Dataset, field: str) -> dict[str, tuple[View, str]]:
    from fiftyone import ViewField

    path = score_field(dataset, field)
    if path is None:
        return {}
    scored = labelled_slices(dataset, field).exists(path)  # to the database, no value is less than any number
    count = len(scored)
    if not count:
        return {}
    low, high = (_quantile(scored, path, count, share) for share in (REVIEW_SHARE, 1 - ACCEPT_SHARE))
    score = ViewField(path)
    return {
        REVIEW: (
            scored.match(score <= low).sort_by(path),
            f"the {REVIEW_SHARE:.0%} with the lowest {path} ({low:.3f} or less), lowest first",
        ),
        ACCEPT: (
            scored.match((score >= high) & (score > low)).sort_by(path, reverse=True),
            f"the {ACCEPT_SHARE:.0%} with the highest {path} ({high:.3f} or more), highest first",
        ),
    }


def _quantile(scored: View, path: str, count: int, share: float) -> float:
    """Return the smallest value that at least ``share`` of the ``count`` values do not exceed.

    FiftyOne's own aggregation collects all values in one document, whose size the database limits.
    """
    rank = max(0, math.ceil(round(share * count, 9)) - 1)
    return float(scored.sort_by(path).skip(rank).limit(1).values(path)[0])


def _rare(dataset: Dataset, field: str) -> dict[str, tuple[View, str]]:
    from fiftyone import ViewField

    path = RunFields(field).classes
    if not dataset.has_sample_field(path):
        return {}
    samples, counts, labelled = class_counts(dataset, field)
    names = rare_classes(counts, labelled)
    if not names:
        return {}
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    view = samples.match(ViewField(path).contains(names))
    return {RARE: (view, f"images with a class that few images show: {listed}")}
