"""Which samples of a dataset to label next, as a saved view."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.progress import Progress
from ..errors import UsageError
from ..images.listing import all_samples, list_view
from .database import database_errors
from .record import finished_run
from .views import delete_views, save_own_view

if TYPE_CHECKING:
    from fiftyone import Dataset

    from ..runs.suggesting import Suggestion

__all__ = ["PURPOSE", "Suggested", "suggest_samples"]

PURPOSE = "label next"


@dataclass(frozen=True)
class Suggested:
    """Samples to label next."""

    view: str  # name of the saved view that shows them, the most helpful one first
    suggestions: dict[str, Suggestion]  # by sample id, in that order


def suggest_samples(
    dataset: Dataset,
    field: str,
    count: int = 5,
    *,
    labels: str | None = None,
    progress: Progress | None = None,
) -> Suggested:
    """Choose the samples whose labelling would help most, and save a view of them with the run.

    An earlier view of this kind is replaced. Undoing the run removes it. Samples that have the field
    ``labels`` are labelled already.

    Raises:
        UsageError: no such run or field, or the run has kept nothing to compare images by.
    """
    from ..runs.suggesting import suggest

    dataset = dataset._dataset
    with database_errors():
        run = finished_run(dataset, field)
        if labels is not None and not dataset.has_sample_field(labels):
            raise UsageError(f"{dataset.name!r} has no field {labels!r}")
        ids = {entry.item.key: entry.sample_ids for entry in list_view(all_samples(dataset).exists(field))}
        known = set(all_samples(dataset).exists(labels).values("id")) if labels is not None else set()
        done = [key for key, samples in ids.items() if not known.isdisjoint(samples)]
        found = suggest(Path(run.out), count, labels=done, progress=progress)
        chosen = {ids[each.image][0]: each for each in found if each.image in ids}
        if not chosen:
            raise UsageError(f"all images of {field!r} that can be compared are labelled already")
        delete_views(dataset, run.key, PURPOSE)
        view = all_samples(dataset).select(list(chosen), ordered=True)
        text = "images whose labels would teach most, the first one most"
        name = save_own_view(dataset, run.key, view, PURPOSE, f"{field}: {PURPOSE}", text)
        return Suggested(name, chosen)
