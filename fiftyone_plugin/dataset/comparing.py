"""Two runs of a dataset, mask by mask: how far they agree, written beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from ..common.parallel import batched
from ..common.progress import NullProgress, Progress
from ..common.skipped import Skipped
from ..errors import UsageError
from ..images.listing import all_samples
from .comparison import (
    DISAGREEMENT,
    MARK,
    StoredComparison,
    StoredMatch,
    agreement_field,
    comparison_key,
    disagreement_view,
    is_comparison,
    undo_comparison,
)
from .database import database_errors
from .journal import at_work, note
from .record import check_field_name, finished_run, stored
from .recovery import recover
from .views import save_own_view

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection as View

    from ..evaluation.comparison import Comparison

    Folder = str | os.PathLike[str]

__all__ = ["class_tables", "compare", "compare_runs"]

BATCH = 64  # samples whose masks may be held at once

THREADS = 4  # decoding releases the interpreter

LISTED = 20  # samples left out that the record names


@overload
def compare(a: Folder, b: Folder, /, *, progress: Progress | None = None) -> Comparison: ...


@overload
def compare(
    samples: View, a: str, b: str, field: str | None = None, progress: Progress | None = None
) -> StoredComparison: ...


def compare(*sources: Any, **options: Any) -> Any:
    """Say how far two runs agree; their classes are matched one to one first.

    Two folders of runs or masks: ``compare(a, b)``, see
    :func:`fiftyone_plugin.evaluation.comparison.compare_folders`; nothing is written. A FiftyOne dataset or
    view and the mask fields of two runs: ``compare(samples, a, b, field=None)``, see
    :func:`fiftyone_plugin.dataset.comparing.compare_runs`; writes a field of agreement, a saved view and a
    record, which :func:`~fiftyone_plugin.undo` removes.

    Raises:
        UsageError: not two finished runs, no masks pair, or the field is taken.

    Example:
        >>> compare("labels", "objects").agreement  # doctest: +SKIP
        0.71
        >>> compare(dataset, "pseudomask", "pseudomask_2").key  # doctest: +SKIP
        'compare_pseudomask_vs_pseudomask_2'
    """
    if not sources or not isinstance(sources[0], (str, os.PathLike)):
        return compare_runs(*sources, **options)
    from ..evaluation.comparison import compare_folders

    if len(sources) != 2:
        raise UsageError("compare takes two folders, or a dataset and the mask fields of two runs")
    return compare_folders(os.fspath(sources[0]), os.fspath(sources[1]), **options)


def compare_runs(
    samples: View, a: str, b: str, field: str | None = None, progress: Progress | None = None
) -> StoredComparison:
    """Compare the masks of two runs of a dataset, and write where they differ.

    Written are a float field of agreement for each sample, a saved view "disagreement" on it, lowest first,
    and a custom run ``compare_<a>_vs_<b>`` with the result, which is returned as it is stored.
    :func:`undo_comparison` removes them, and so does undoing one of the two runs. An earlier comparison of
    the two is replaced.

    Args:
        samples: dataset or view; samples without one of the two masks take no part.
        a: mask field of the first run.
        b: mask field of the second run.
        field: field for the agreement; ``None`` for ``<a>_vs_<b>_agreement``.
        progress: where the work reports to.

    Raises:
        UsageError: not two finished runs, the field is taken, or no sample has both masks.
    """
    from ..evaluation.comparison import compare_counts
    from ..evaluation.per_image import ImageCounts

    dataset = samples._dataset
    field = field or agreement_field(a, b)
    key = comparison_key(a, b)
    with database_errors("Nothing of the runs was changed; compare them again once it does"):
        recover(dataset)
        _check(dataset, a, b, field, key)
        both = all_samples(samples).exists(a).exists(b)
        images, skipped = ImageCounts(), []
        with (progress or NullProgress()).stage("comparing masks", total=len(both)) as stage:
            for sample_id, found in class_tables(both, a, b):
                if isinstance(found, Skipped):
                    skipped.append(found)
                else:
                    images.append(sample_id, found)
                stage.update()
        result = compare_counts(images, skipped)
        if is_comparison(dataset, key):
            undo_comparison(dataset, key)
        return _write(dataset, key, (a, b, field), result)


def _write(dataset: Dataset, key: str, names: tuple[str, str, str], result: Comparison) -> StoredComparison:
    """Write record, field and saved view; the record says that it is being written until all are there."""
    import fiftyone as fo

    a, b, field = names
    record = StoredComparison(
        key=key,
        a=a,
        b=b,
        field=field,
        view=None,
        images=result.images,
        agreement=result.agreement,
        ari=result.ari,
        nmi=result.nmi,
        classes=tuple(StoredMatch(match.a, match.b, round(match.iou, 4)) for match in result.classes),
        left_out=len(result.skipped),
        reasons={entry.key: entry.reason for entry in result.skipped[:LISTED]},
    )
    with at_work() as holder:
        record.save(dataset, holder)
        dataset.add_sample_field(field, fo.FloatField, info={MARK: key})
        dataset.set_values(field, result.per_image, key_field="id")
        text = f"{a} against {b}, images that differ most first ({result.agreement:.1%} of the pixels agree)"
        view = disagreement_view(dataset, record)
        save_own_view(dataset, key, view, DISAGREEMENT, f"{a} vs {b}: {DISAGREEMENT}", text)
        note(dataset, key, write=None)
    return StoredComparison.read(dataset, key)


def _check(dataset: Dataset, a: str, b: str, field: str, key: str) -> None:
    if a == b:
        raise UsageError(f"{a!r} cannot be compared with itself: name two runs")
    for name in (a, b):
        finished_run(dataset, name)
        if not dataset.has_sample_field(name):
            raise UsageError(f"field {name!r} was deleted: delete its run too, or label anew")
    check_field_name(field)
    ours = is_comparison(dataset, key)
    if dataset.has_run(key) and not ours:
        raise UsageError(f"{dataset.name!r} has a run {key!r} of something else: delete or rename it first")
    replaced = stored(dataset, key, "field") if ours else None
    if field != replaced and dataset.has_sample_field(field):
        raise UsageError(f"field {field!r} exists: choose another name for the agreement")


def class_tables(samples: View, a: str, b: str) -> Iterator[tuple[str, Any]]:
    """Yield sample id and the table of its two masks, or the reason why there is none.

    All ``samples`` have both; rows of the table are classes of the field ``a``, columns of ``b``.
    """
    from ..evaluation.comparison import count_or_skip
    from ..evaluation.fiftyone_masks import stored_masks, with_stored_mask
    from ..masks.files import load_mask

    def read(label: tuple[str | None, Any]) -> Any:
        mask = load_mask(*label)
        if mask is None:
            raise UsageError("a label has no mask")
        return mask

    in_database = {field: with_stored_mask(samples, field) for field in (a, b)}
    rows = zip(*samples.values(["id", f"{a}.mask_path", f"{b}.mask_path"]), strict=True)
    with ThreadPoolExecutor(THREADS) as pool:
        for batch in batched(rows, BATCH):
            ids, *paths = zip(*batch, strict=True)
            labels = []
            for field, known in zip((a, b), paths, strict=True):
                stored = stored_masks(samples, [i for i in ids if i in in_database[field]], field)
                labels.append([(path, stored.get(i)) for i, path in zip(ids, known, strict=True)])
            yield from zip(ids, pool.map(partial(count_or_skip, read=read), ids, *labels), strict=True)
