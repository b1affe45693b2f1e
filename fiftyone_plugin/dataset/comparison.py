"""Comparison of two runs of a dataset: a field of agreement, a saved view of where they differ, a record."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..images.listing import labelled_slices
from .keys import METHOD
from .views import delete_views, list_views

__all__ = [
    "COMPARISON_METHOD",
    "StoredComparison",
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
    from .journal import begun

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
