"""Comparison of two runs of a dataset: a field of agreement, a saved view of where they differ, a record."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..images.listing import labelled_slices
from .keys import METHOD
from .record import RunFields, plain, stored
from .views import delete_views, list_views

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection as View

__all__ = ["COMPARISON_METHOD", "DISAGREEMENT", "MARK", "StoredComparison", "StoredMatch", "agreement_field"]
__all__ += ["comparison_key", "disagreement_view", "is_comparison", "list_comparisons", "match_view"]
__all__ += ["undo_comparison"]

COMPARISON_METHOD = f"{METHOD}_comparison"
DISAGREEMENT = "disagreement"
MARK = "pseudomask_comparison"  # in the info of the field of agreement: the key of its comparison


@dataclass(frozen=True)
class StoredMatch:
    """Two matching classes: their ids, ``None`` without a counterpart, and intersection over union."""

    a: int | None
    b: int | None
    iou: float


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
        classes: matching classes, those that agree least first.
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
    classes: tuple[StoredMatch, ...]
    left_out: int
    reasons: dict[str, str]

    @classmethod
    def read(cls, dataset: Dataset, key: str) -> StoredComparison:
        """Read the record of a comparison.

        Raises:
            AttributeError, KeyError, TypeError: it is one that somebody else has made.
        """
        config, views = dataset.get_run_info(key).config, list_views(dataset, key)
        names = set(cls.__dataclass_fields__) - {"key", "view", "classes"}
        return cls(
            key=key,
            view=views[0].name if views else None,
            classes=tuple(StoredMatch(row["a"], row["b"], row["iou"]) for row in config.classes),
            **{name: plain(getattr(config, name)) for name in names},
        )

    def save(self, dataset: Dataset, holder: dict[str, object]) -> None:
        """Write a new record, which says that it is being written."""
        values = {name: value for name, value in asdict(self).items() if name not in ("key", "view")}
        values["classes"] = [asdict(row) for row in self.classes]
        pending = {"write": {"holder": holder}}
        config = dataset.init_run(method=COMPARISON_METHOD, **values, pending=pending)
        dataset.register_run(self.key, config, overwrite=False)


def comparison_key(a: str, b: str) -> str:
    """Return the key of the custom run that compares the mask fields ``a`` and ``b``."""
    return f"compare_{a}_vs_{b}"


def agreement_field(a: str, b: str) -> str:
    """Return the usual name of the field of agreement of two mask fields."""
    return f"{a}_vs_{b}_agreement"


def is_comparison(dataset: Dataset, key: str) -> bool:
    """Return whether ``key`` is a custom run of :func:`compare_runs`."""
    return dataset.has_run(key) and stored(dataset, key, "method") == COMPARISON_METHOD


def list_comparisons(samples: View, field: str | None = None) -> list[StoredComparison]:
    """Return the comparisons of a dataset, those that a mask field takes part in if one is named."""
    dataset = samples._dataset
    found = []
    for key in dataset.list_runs(method=COMPARISON_METHOD):
        with suppress(AttributeError, KeyError, TypeError, ValueError):  # somebody else has made it
            found.append(StoredComparison.read(dataset, key))
    return [comparison for comparison in found if field is None or field in (comparison.a, comparison.b)]


def disagreement_view(samples: View, comparison: StoredComparison) -> View:
    """Return the view of the images that were compared, those that differ most first."""
    shown = labelled_slices(samples._dataset, comparison.field).exists(comparison.field)
    return shown.sort_by(comparison.field)


def match_view(samples: View, comparison: StoredComparison, number: int) -> View:
    """Return the view of the images that show one of ``comparison.classes[number]``, most different first."""
    from fiftyone import ViewExpression, ViewField

    dataset, pair = samples._dataset, comparison.classes[number]
    shown = []
    for field, id_ in ((comparison.a, pair.a), (comparison.b, pair.b)):
        name = (dataset.mask_targets.get(field) or {}).get(id_)
        if name is not None:
            shown.append(ViewField(RunFields(field).classes).contains(name))
    view = disagreement_view(dataset, comparison)
    return view.match(ViewExpression.any(shown)) if shown else view


def undo_comparison(samples: View, key: str) -> None:
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
        field = _agreement_field(dataset, key)
        if field is not None:
            dataset.delete_sample_field(field)
        dataset.delete_run(key)


def _agreement_field(dataset: Dataset, key: str) -> str | None:
    """Return the field that a record names if it is one of agreement; a stranger's record may name any."""
    import fiftyone as fo

    name, a, b = (stored(dataset, key, part) for part in ("field", "a", "b"))
    found = dataset.get_field(name) if isinstance(name, str) and "." not in name else None
    ours = (getattr(found, "info", None) or {}).get(MARK) == comparison_key(str(a), str(b))
    return name if isinstance(found, fo.FloatField) and (ours or name == agreement_field(a, b)) else None
