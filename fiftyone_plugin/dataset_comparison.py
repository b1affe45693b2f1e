"""Comparison of two runs of a dataset: a field of agreement, a saved view of where they differ, a record."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .errors import UsageError
from .parallel import batched
from .progress import NullProgress, Progress
from .run_keys import METHOD, reserved_fields, run_key
from .saved_views import delete_views, list_views, save_own_view
from .view_check import all_samples, labelled_slices

__all__ = [
    "COMPARISON_METHOD",
    "StoredComparison",
    "compare_runs",
    "comparison_key",
    "disagreement_view",
    "is_comparison",
    "list_comparisons",
    "match_view",
    "undo_comparison",
]

COMPARISON_METHOD = f"{METHOD}_comparison"
DISAGREEMENT = "disagreement"
MARK = "pseudomask_comparison"  # in the info of the field of agreement: the key of its comparison
BATCH = 64  # samples whose masks may be held at once
THREADS = 4  # decoding releases the interpreter
LISTED = 20  # samples left out that the record names


@dataclass(frozen=True)
class StoredComparison:
    """What the record of a comparison holds.

    Attributes:
        key: key of the custom run.
        a: mask field of the first run.
        b: mask field of the second run.
        field: per-sample field of agreement, the share of pixels that have matching classes, in [0, 1].
        view: name of the saved view that begins with the images that differ most; ``None`` if it is gone.
        images: number of images compared.
        agreement: share of pixels that have matching classes, in [0, 1].
        ari: adjusted Rand index.
        nmi: normalised mutual information.
        classes: matching classes, those that agree least first: ``a`` and ``b`` (ids, ``None`` without a
            counterpart) and ``iou`` each.
        left_out: number of samples that could not be compared.
        reasons: sample id -> reason, of the first of them.
    """

    key: str
    a: str
    b: str
    field: str
    view: str | None
    images: int
    agreement: float
    ari: float
    nmi: float
    classes: list[dict[str, Any]]
    left_out: int
    reasons: dict[str, str]


def comparison_key(a: str, b: str) -> str:
    """Return the key of the custom run that compares the mask fields ``a`` and ``b``."""
    return f"compare_{a}_vs_{b}"


def compare_runs(
    samples: Any, a: str, b: str, field: str | None = None, progress: Progress | None = None
) -> StoredComparison:
    """Compare the masks of two runs of a dataset, and write where they differ.

    Written are a float field of agreement for each sample, a saved view "disagreement" on it, lowest first,
    and a custom run ``compare_<a>_vs_<b>`` with the result. :func:`undo_comparison` removes them, and so does
    undoing one of the two runs. An earlier comparison of the two is replaced.

    Args:
        samples: dataset or view; samples without one of the two masks take no part.
        a: mask field of the first run.
        b: mask field of the second run.
        field: field for the agreement; ``None`` for ``<a>_vs_<b>_agreement``.
        progress: where the work reports to.

    Returns:
        The result as it is stored.

    Raises:
        UsageError: not two finished runs, the field is taken, or no sample has both masks.
    """
    from .comparison import compare_counts
    from .dataset.database import database_errors
    from .dataset.recovery import recover
    from .evaluation.per_image import ImageCounts

    dataset = samples._dataset
    field = field or f"{a}_vs_{b}_agreement"
    key = comparison_key(a, b)
    with database_errors("Nothing of the runs was changed; compare them again once it does"):
        recover(dataset)
        _check(dataset, a, b, field, key)
        both = all_samples(samples).exists(a).exists(b)
        images, left_out = ImageCounts(), {}
        with (progress or NullProgress()).stage("comparing masks", total=len(both)) as stage:
            for sample_id, found in _tables(both, a, b):
                if isinstance(found, str):
                    left_out[sample_id] = found
                else:
                    images.append(sample_id, found)
                stage.update()
        result = compare_counts(images, left_out)
        if is_comparison(dataset, key):
            undo_comparison(dataset, key)
        return _write(dataset, key, (a, b, field), result, left_out)


def _write(
    dataset: Any, key: str, names: tuple[str, str, str], result: Any, left_out: dict[str, str]
) -> StoredComparison:
    """Write record, field and saved view; the record says that it is being written until all are there."""
    import fiftyone as fo

    from .dataset.journal import at_work, note

    a, b, field = names
    with at_work() as holder:
        config = dataset.init_run(
            method=COMPARISON_METHOD,
            a=a,
            b=b,
            field=field,
            images=result.images,
            agreement=result.agreement,
            ari=result.ari,
            nmi=result.nmi,
            classes=[{"a": match.a, "b": match.b, "iou": round(match.iou, 4)} for match in result.classes],
            left_out=len(left_out),
            reasons=dict(list(left_out.items())[:LISTED]),
            pending={"write": {"holder": holder}},
        )
        dataset.register_run(key, config, overwrite=False)
        dataset.add_sample_field(field, fo.FloatField, info={MARK: key})
        dataset.set_values(field, result.per_image, key_field="id")
        stored = _read(dataset, key)
        text = f"{a} against {b}, images that differ most first ({result.agreement:.1%} of the pixels agree)"
        view = disagreement_view(dataset, stored)
        save_own_view(dataset, key, view, DISAGREEMENT, f"{a} vs {b}: {DISAGREEMENT}", text)
        note(dataset, key, write=None)
    return _read(dataset, key)


def is_comparison(dataset: Any, key: str) -> bool:
    """Return whether ``key`` is a custom run of :func:`compare_runs`."""
    return dataset.has_run(key) and dataset.get_run_info(key).config.method == COMPARISON_METHOD


def list_comparisons(samples: Any, field: str | None = None) -> list[StoredComparison]:
    """Return the comparisons of a dataset, those that a mask field takes part in if one is named."""
    dataset = samples._dataset
    found = []
    for key in dataset.list_runs(method=COMPARISON_METHOD):
        with suppress(AttributeError, TypeError, ValueError):  # a record that somebody else has made
            found.append(_read(dataset, key))
    return [comparison for comparison in found if field is None or field in (comparison.a, comparison.b)]


def disagreement_view(samples: Any, comparison: StoredComparison) -> Any:
    """Return the view of the images that were compared, those that differ most first."""
    shown = labelled_slices(samples._dataset, comparison.field).exists(comparison.field)
    return shown.sort_by(comparison.field)


def match_view(samples: Any, comparison: StoredComparison, number: int) -> Any:
    """Return the view of the images that show one of two matched classes, those that differ most first.

    Args:
        samples: the dataset, or any view of it.
        comparison: the comparison.
        number: position of the pair in its ``classes``.
    """
    from fiftyone import ViewExpression, ViewField

    dataset, pair = samples._dataset, comparison.classes[number]
    shown = []
    for field, id_ in ((comparison.a, pair["a"]), (comparison.b, pair["b"])):
        name = (dataset.mask_targets.get(field) or {}).get(id_)
        if name is not None:
            shown.append(ViewField(f"{field}_classes").contains(name))
    view = disagreement_view(dataset, comparison)
    return view.match(ViewExpression.any(shown)) if shown else view


def undo_comparison(samples: Any, key: str) -> None:
    """Remove the field, saved view and record of a comparison, and nothing else.

    Raises:
        UsageError: there is no such comparison.
    """
    dataset = samples._dataset
    if not is_comparison(dataset, key):
        known = ", ".join(dataset.list_runs(method=COMPARISON_METHOD)) or "none"
        raise UsageError(f"{dataset.name!r} has no comparison {key!r}; there are: {known}")
    from .dataset.journal import begun

    with begun(dataset, key, "undo"):
        delete_views(dataset, key)
        config = dataset.get_run_info(key).config
        if _is_agreement(dataset, config):
            dataset.delete_sample_field(config.field)
        dataset.delete_run(key)


def _is_agreement(dataset: Any, config: Any) -> bool:
    """Return whether the field that a record names is one of agreement; a stranger's record may name any."""
    import fiftyone as fo

    name, a, b = (getattr(config, part, None) for part in ("field", "a", "b"))
    found = dataset.get_field(name) if isinstance(name, str) and "." not in name else None
    ours = (getattr(found, "info", None) or {}).get(MARK) == comparison_key(str(a), str(b))
    return isinstance(found, fo.FloatField) and (ours or name == f"{a}_vs_{b}_agreement")


def _read(dataset: Any, key: str) -> StoredComparison:
    config = dataset.get_run_info(key).config
    views = list_views(dataset, key)
    return StoredComparison(
        key=key,
        a=config.a,
        b=config.b,
        field=config.field,
        view=views[0].name if views else None,
        images=config.images,
        agreement=config.agreement,
        ari=config.ari,
        nmi=config.nmi,
        classes=[dict(match) for match in config.classes],
        left_out=config.left_out,
        reasons=dict(config.reasons),
    )


def _check(dataset: Any, a: str, b: str, field: str, key: str) -> None:
    if a == b:
        raise UsageError(f"{a!r} cannot be compared with itself: name two runs")
    finished = dataset.list_runs(method=METHOD, status="complete")
    for name in (a, b):
        if run_key(name) not in finished:
            fields = ", ".join(reserved_fields(finished)) or "none"
            raise UsageError(f"no finished run fills {name!r}; there are: {fields}")
        if not dataset.has_sample_field(name):
            raise UsageError(f"field {name!r} was deleted: delete its run too, or label anew")
    if not field.isidentifier() or field.startswith("_"):
        raise UsageError(f"{field!r} cannot be a field name: use letters, digits and _")
    ours = is_comparison(dataset, key)
    if dataset.has_run(key) and not ours:
        raise UsageError(f"{dataset.name!r} has a run {key!r} of something else: delete or rename it first")
    replaced = dataset.get_run_info(key).config.field if ours else None
    if field != replaced and dataset.has_sample_field(field):
        raise UsageError(f"field {field!r} exists: choose another name for the agreement")


def _tables(samples: Any, a: str, b: str) -> Iterator[tuple[str, Any]]:
    """Yield sample id and the table of its two masks, or the reason why there is none."""
    from .comparison import count_or_reason
    from .evaluation.fiftyone_masks import load_mask, stored_masks, with_stored_mask

    def read(label: tuple[str | None, Any]) -> Any:
        mask = load_mask(*label)
        if mask is None:
            raise UsageError("a label has no mask")
        return mask

    def count(one: tuple[str | None, Any], other: tuple[str | None, Any]) -> Any:
        return count_or_reason(one, other, read)

    in_database = {field: with_stored_mask(samples, field) for field in (a, b)}
    rows = zip(*samples.values(["id", f"{a}.mask_path", f"{b}.mask_path"]), strict=True)
    with ThreadPoolExecutor(THREADS) as pool:
        for batch in batched(rows, BATCH):
            ids, *paths = zip(*batch, strict=True)
            labels = []
            for field, known in zip((a, b), paths, strict=True):
                stored = stored_masks(samples, [i for i in ids if i in in_database[field]], field)
                labels.append([(path, stored.get(i)) for i, path in zip(ids, known, strict=True)])
            yield from zip(ids, pool.map(count, *labels), strict=True)
