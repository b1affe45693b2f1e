"""Which masks of a run to accept: those at or above a score, told by two tags of the samples."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UsageError
from ..images.listing import all_samples, labelled_slices
from ..runs.cleaning import CALIBRATION
from .database import database_errors
from .record import RunRecord, finished_run
from .remembered import remembered
from .summary import score_field, score_histogram

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection as View

__all__ = ["ACCEPTED", "TO_REVIEW", "Kept", "accept", "count_kept", "expected_iou", "is_tagged", "kept_view"]
__all__ += ["take_back"]

ACCEPTED, TO_REVIEW = "accepted", "to review"


@dataclass(frozen=True)
class Kept:
    """Numbers of images: with a score of the threshold or more, and with a lower one."""

    kept: int
    left: int


def kept_view(dataset: Dataset, path: str, threshold: float, *, kept: bool = True) -> View:
    """Return the samples whose score ``path`` is at least ``threshold``, or those where it is lower."""
    from fiftyone import ViewField

    scored = labelled_slices(dataset, path).exists(path)
    return scored.match(ViewField(path) >= threshold if kept else ViewField(path) < threshold)


def count_kept(dataset: Dataset, path: str, threshold: float) -> Kept:
    """Count the samples on both sides of a threshold."""

    def count() -> Kept:
        return Kept(*(len(kept_view(dataset, path, threshold, kept=kept)) for kept in (True, False)))

    return remembered(dataset, ("kept", path, threshold), count)


def accept(dataset: Dataset, field: str, threshold: float) -> Kept:
    """Tag the samples of a run by their score: ``accepted`` from ``threshold`` on, ``to review`` below.

    The score is ``<field>_quality``, or ``<field>_coverage`` where there is no quality. All samples of the
    run count. One has one of the two tags at most; other tags stay. :func:`take_back` removes both.

    Raises:
        UsageError: no finished run fills the field, or its samples have no score.
    """
    dataset = dataset._dataset
    with database_errors("Once it does, accept them again"):
        path = _score(dataset, field)
        counts = []
        for kept, tag, other in ((True, ACCEPTED, TO_REVIEW), (False, TO_REVIEW, ACCEPTED)):
            view = kept_view(dataset, path, threshold, kept=kept)
            view.match_tags(other).untag_samples(other)
            view.match_tags(tag, bool=False).tag_samples(tag)
            counts.append(len(view))
        return Kept(*counts)


def take_back(dataset: Dataset, field: str) -> None:
    """Remove the tags of :func:`accept` from the samples of a run."""
    dataset = dataset._dataset
    with database_errors("Once it does, take the tags back again"):
        path = _score(dataset, field)
        tags = [ACCEPTED, TO_REVIEW]
        labelled_slices(dataset, path).exists(path).match_tags(tags).untag_samples(tags)


def is_tagged(dataset: Dataset) -> bool:
    """Tell whether any sample has one of the two tags."""
    tagged = all_samples(dataset).match_tags([ACCEPTED, TO_REVIEW]).limit(1)
    return remembered(dataset, "tagged", lambda: bool(tagged.values("id")))


def expected_iou(dataset: Dataset, run: RunRecord, path: str, threshold: float) -> float | None:
    """Return the mean IoU to expect of what is kept; ``None`` where the run is not calibrated.

    ``path`` is the field of the score, and ``threshold`` one of it. Scores count by the centres of the bars
    of their histogram. ``pseudomask evaluate --calibrate`` calibrates the folder of a run.
    """
    from ..runs.calibration import QualityCalibration

    file = Path(run.out) / CALIBRATION[0]
    try:
        calibration = QualityCalibration.load(file) if file.is_file() else None
    except UsageError:
        return None
    if calibration is None:
        return None
    found = score_histogram(dataset, path)
    centres = np.array([(low + high) / 2 for low, high in pairwise(found.edges)])
    counts = np.array(found.counts) * (centres >= threshold)
    return float(np.average(calibration.predict(centres), weights=counts)) if counts.sum() else None


def _score(dataset: Dataset, field: str) -> str:
    finished_run(dataset, field)
    path = score_field(dataset, field)
    if path is None:
        raise UsageError(f"the masks of {field!r} have no score any more")
    return path
