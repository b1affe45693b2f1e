"""What the App shows of runs, from records and aggregations: no image, no mask and no sample is read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..images.listing import all_samples, labelled_slices
from ..runs.folder import RunDirectory
from .keys import numbered
from .record import RunFields, RunRecord, finished_fields, list_runs
from .remembered import Packing, remembered

if TYPE_CHECKING:
    from fiftyone import Dataset, ViewExpression
    from fiftyone.core.collections import SampleCollection as View

__all__ = ["ClassRow", "Histogram", "bar_view", "choose_run", "class_counts", "class_rows", "class_view"]
__all__ += ["finished_fields", "free_field", "ids_by_name", "ids_of", "list_runs", "score_field"]
__all__ += ["score_histogram", "setting_rows", "stage_seconds"]

BINS = 20
SHORT = 40  # characters of a setting's value


@dataclass(frozen=True)
class ClassRow:
    """One class name of a mask field.

    Attributes:
        name: name of the class.
        ids: ids in the masks that bear the name, ascending; several once classes are merged.
        images: number of images that show the class.
        share: ``images`` over the number of labelled images, in [0, 1].
        area: share of all pixels of the labelled images, in [0, 1]; ``None`` if the run did not record it.
        quality: mean score of the images that show the class; ``None`` where there is none.
    """

    name: str
    ids: tuple[int, ...]
    images: int
    share: float
    area: float | None = None
    quality: float | None = None


@dataclass(frozen=True)
class Histogram:
    """Counts of the score in the field ``path``: bar ``i`` counts ``edges[i] <= score < edges[i + 1]``."""

    path: str
    edges: tuple[float, ...]  # n + 1, ascending
    counts: tuple[int, ...]  # n


FIGURES: Packing[tuple[dict[str, tuple[int, float | None]], int]] = Packing(
    lambda found: [[[name, *each] for name, each in found[0].items()], found[1]],
    lambda kept: ({str(name): (int(n), mean) for name, n, mean in kept[0]}, int(kept[1])),
)
BARS: Packing[Histogram | None] = Packing(
    lambda found: found and [found.path, list(found.edges), list(found.counts)],
    lambda kept: kept and Histogram(str(kept[0]), tuple(kept[1]), tuple(kept[2])),
)


def choose_run(runs: Sequence[RunRecord], key: str | None) -> RunRecord | None:
    """Return the run of this key, else the first, else ``None``."""
    return next((run for run in runs if run.key == key), runs[0] if runs else None)


def setting_rows(run: RunRecord) -> list[tuple[str, str]]:
    """Return a run's settings as (name, value) pairs, what a person asks for first; hashes are left out."""
    settings = run.settings
    backbone = settings.get("backbone") or {}
    rows = {
        "method": settings.get("method"),
        "backbone": backbone.get("backbone"),
        "weights": backbone.get("origin"),
        "input size": settings.get("size"),
        "refinement": settings.get("refine"),
        "seed": settings.get("seed"),
        **(settings.get("method_config") or {}),
        **run.counts,
        "folder": run.out,
    }
    return [(name, _short(value, name)) for name, value in rows.items() if value is not None]


def _short(value: object, name: str) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if name == "folder" or len(text) <= SHORT else text[: SHORT - 1] + "\u2026"


def class_counts(dataset: Dataset, field: str) -> tuple[View, dict[str, int], int]:
    """Return the labelled samples, class name -> number of images, and the number of labelled images."""
    samples, figures, labelled = _figures(dataset, field, "")
    return samples, {name: images for name, (images, _) in figures.items()}, labelled


def _figures(
    dataset: Dataset, field: str, score: str
) -> tuple[View, dict[str, tuple[int, float | None]], int]:
    """Return the labelled samples, class name -> images and mean score, and the number of labelled images."""
    import fiftyone as fo

    from .class_figures import ClassFigures

    samples = labelled_slices(dataset, field)
    wanted = [ClassFigures(RunFields(field).classes, score), fo.Count(field)]
    key = ("classes", field, score)
    return samples, *remembered(dataset, key, lambda: tuple(samples.aggregate(wanted)), FIGURES)


def class_rows(dataset: Dataset, field: str, areas: Mapping[str, float] | None = None) -> list[ClassRow]:
    """Return the classes of a mask field, those in most images first; one aggregation, no mask is read.

    ``areas`` are class id -> share of all pixels, as the run recorded it; merged classes add up.
    """
    if not dataset.has_sample_field(RunFields(field).classes):
        return []
    _, figures, labelled = _figures(dataset, field, score_field(dataset, field) or "")
    ids = ids_by_name(dataset.mask_targets.get(field) or {})
    rows = []
    for name in {**ids, **figures}:
        own, (images, quality) = tuple(ids.get(name, ())), figures.get(name, (0, None))
        area = sum(float(areas.get(str(id_), 0)) for id_ in own) if areas else None
        rows.append(ClassRow(name, own, images, images / max(1, labelled), area, quality))
    return sorted(rows, key=lambda row: (-row.images, row.ids, row.name))


def ids_by_name(targets: Mapping[int, str] | Mapping[str, str]) -> dict[str, list[int]]:
    """Turn mask targets round: name -> ids, ascending; 0 is no class."""
    names: dict[str, list[int]] = {}
    for id_, name in sorted(ids_of(targets).items()):
        if id_:
            names.setdefault(name, []).append(id_)
    return names


def ids_of(targets: Mapping[int, object] | Mapping[str, object]) -> dict[int, str]:
    """Return id -> name of mask targets, whose keys may be numbers or text; colours are no ids."""
    texts = {str(key): str(name) for key, name in targets.items()}
    return {int(text): name for text, name in texts.items() if text.isascii() and text.isdigit()}


def class_view(dataset: Dataset, field: str, name: str) -> View:
    """Return the view of the images that show a class."""
    from fiftyone import ViewField

    return labelled_slices(dataset, field).match(ViewField(RunFields(field).classes).contains(name))


def score_field(dataset: Dataset, field: str) -> str | None:
    """Return the field by which the masks are ranked: quality, or coverage where there is no quality."""
    names = (RunFields(field).quality, RunFields(field).coverage)
    return next((name for name in names if dataset.has_sample_field(name)), None)


def score_histogram(dataset: Dataset, path: str, bins: int = BINS) -> Histogram:
    """Count the values of a field in ``bins`` bars between their smallest and largest.

    Raises:
        UsageError: no sample has a value.
    """
    found = remembered(dataset, ("histogram", path, bins), lambda: _histogram(dataset, path, bins), BARS)
    if found is None:
        raise UsageError(f"no sample of {dataset.name!r} has a value in {path!r}")
    return found


def _histogram(dataset: Dataset, path: str, bins: int) -> Histogram | None:
    samples = all_samples(dataset)
    low, high = samples.bounds(path)
    if low is None or not math.isfinite(high - low):
        return None
    bins = bins if high > low else 1
    top = math.nextafter(high, math.inf)  # a bar leaves its upper edge out
    edges = (*(low + (top - low) * i / bins for i in range(bins)), top)
    # FiftyOne's own histogram asks for every edge in turn, which takes the database six times as long
    empty = Histogram(path, edges, (0,) * bins)
    counts = samples.exists(path).count_values(_bar_of(empty))
    return Histogram(path, edges, tuple(int(counts.get(bar, 0)) for bar in range(bins)))


def bar_view(dataset: Dataset, histogram: Histogram, bar: int) -> View:
    """Return the view of the images that one bar counts, lowest score first."""
    samples = labelled_slices(dataset, histogram.path).exists(histogram.path)
    return samples.match(_bar_of(histogram) == bar).sort_by(histogram.path)


def _bar_of(histogram: Histogram) -> ViewExpression:
    """Return the expression for the number of the bar that counts a value."""
    from fiftyone import ViewField

    low, top, bars = histogram.edges[0], histogram.edges[-1], len(histogram.counts)
    place = (ViewField(histogram.path) - low) / (top - low) * bars
    return place.floor().min(bars - 1)  # rounding may lift the largest value


def stage_seconds(run: RunRecord) -> dict[str, float]:
    """Return the seconds of a run's stages, longest first; empty if its folder is gone or unfinished."""
    try:
        record = RunDirectory(Path(run.out)).read_run()
    except UsageError:
        return {}
    stages = [stage for stage in (record.seconds.items() if record else ()) if stage[0] != "total"]
    return dict(sorted(stages, key=lambda stage: -stage[1]))


def free_field(taken: Iterable[str], stem: str) -> str:
    """Return ``stem``, or else the first of ``stem_2``, ``stem_3``, ... that a new run can fill.

    ``taken`` are the names of the fields that there are, and of those that runs have reserved.
    """
    names = set(taken)
    return next(name for name in numbered(stem) if names.isdisjoint(RunFields(name).all))
