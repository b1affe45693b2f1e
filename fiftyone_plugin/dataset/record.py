"""The record of a run in a FiftyOne dataset: read and checked here, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Any

from ..errors import MissingDependencyError, PseudoMaskError, UsageError
from .keys import FIELD_SUFFIXES, METHOD, is_field_name, run_key

if TYPE_CHECKING:
    import fiftyone.core.fields as fof
    import fiftyone.core.runs as fors
    from fiftyone import Dataset

__all__ = ["RunFields", "RunRecord", "check_field_name", "finished_fields", "finished_run", "has_own_run"]
__all__ += ["list_runs", "load_dataset", "plain", "read_record", "save_record", "stored"]
__all__ += ["update_record"]

COMPLETE, RUNNING = "complete", "running"


class RunFields:
    """Names of the sample fields that a run fills, and of those made from them, all by that of the mask.

    Attributes:
        mask: the mask field.
        all: the mask field, then those beside it: classes, coverage, quality, confidence.
        path: path of the mask's file.
        classes: names of the classes present.
        coverage: share of labelled pixels, in [0, 1].
        quality: how clearly the classes win, a ranking.
        confidence: the same for every patch, a heat map.
        detections: regions as detections, unless somebody takes another name for them.
        named: masks under the names of matched classes, unless somebody takes another name for them.
    """

    def __init__(self, mask: str) -> None:
        self.mask, self.path = mask, f"{mask}.mask_path"
        self.all = [mask, *(f"{mask}_{suffix}" for suffix in FIELD_SUFFIXES)]
        self.classes, self.coverage, self.quality, self.confidence = self.all[1:]
        self.detections, self.named = f"{mask}_detections", f"{mask}_named"

    @property
    def types(self) -> dict[str, dict[str, type]]:
        """Name -> arguments of FiftyOne's ``add_sample_field``."""
        import fiftyone as fo

        types: list[dict[str, type]] = [
            {"ftype": fo.EmbeddedDocumentField, "embedded_doc_type": fo.Segmentation},
            {"ftype": fo.ListField, "subfield": fo.StringField},
            {"ftype": fo.FloatField},
            {"ftype": fo.FloatField},
            {"ftype": fo.EmbeddedDocumentField, "embedded_doc_type": fo.Heatmap},
        ]
        return dict(zip(self.all, types, strict=True))

    def unfit(self, schema: Mapping[str, fof.Field]) -> list[str]:
        """Return the names that a schema has with another type than a run needs."""
        types = self.types.items()
        return [name for name, wanted in types if name in schema and not _fits(schema[name], wanted)]


def _fits(found: fof.Field, wanted: Mapping[str, type]) -> bool:
    if type(found) is not wanted["ftype"]:
        return False
    label = wanted.get("embedded_doc_type")
    if label is not None:
        return getattr(found, "document_type", None) is label
    inner = getattr(found, "field", None)
    return wanted.get("subfield") is None or inner is None or isinstance(inner, wanted["subfield"])


@dataclass
class RunRecord:
    """What the custom run of a dataset stores.

    Attributes:
        field: the mask field.
        out: folder of masks and records.
        fields: all fields that the run writes.
        created_fields: those that did not exist before.
        status: ``running`` or ``complete``.
        settings: settings of the finished run, as in ``run.json``.
        counts: images, labelled, skipped.
        areas: class id -> share of all pixels; empty for runs that did not record it.
        saved_views: purpose -> name of the saved views made with the run.
        dataset_id: the dataset that it was made in; a clone has the record too, but another id. Empty in
            records of earlier versions.
        run_id: the same as in the ``run.json`` of ``out``; empty in records of earlier versions.
        pending: what was begun and is not done yet, see :mod:`.journal`.
        edits: what :class:`~.editing.history.Edit` reads, oldest first.
        detections: field of detections made from the masks -> what is needed to put them back.
    """

    field: str
    out: str
    fields: list[str]
    created_fields: list[str]
    status: str
    settings: dict[str, Any] = dataclass_field(default_factory=dict)
    counts: dict[str, int] = dataclass_field(default_factory=dict)
    areas: dict[str, float] = dataclass_field(default_factory=dict)
    saved_views: dict[str, str] = dataclass_field(default_factory=dict)
    dataset_id: str = ""
    run_id: str = ""
    pending: dict[str, dict[str, Any]] = dataclass_field(default_factory=dict)
    edits: list[object] = dataclass_field(default_factory=list)
    detections: dict[str, dict[str, Any]] = dataclass_field(default_factory=dict)

    @property
    def key(self) -> str:
        """Key of the custom run."""
        return run_key(self.field)

    @property
    def is_complete(self) -> bool:
        """Whether the run has filled its fields."""
        return self.status == COMPLETE

    @property
    def title(self) -> str:
        """One line that tells runs apart."""
        if not self.is_complete:
            return f"{self.field} (not complete)"
        parts = (self.settings.get("method"), f"{self.counts.get('labelled', 0)} images")
        return f"{self.field} ({', '.join(filter(None, parts))})"


def check_field_name(field: str) -> None:
    """Check that a field can have this name.

    Raises:
        UsageError: it cannot.
    """
    if not is_field_name(field):
        raise UsageError(
            f"{field!r} cannot be a field name: use letters, digits and _, beginning with a letter"
        )


# ---------------------------------------------------------------------- reading


def stored(dataset: Dataset, key: str, name: str) -> Any:
    """Return one value of whatever record a key has, in Python's own types; ``None`` if it has none."""
    return plain(getattr(dataset.get_run_info(key).config, name, None))


def has_own_run(dataset: Dataset, key: str) -> bool:
    """Return whether a dataset has a run of this package under a key, whatever its record holds."""
    return dataset.has_run(key) and stored(dataset, key, "method") == METHOD


def read_record(dataset: Dataset, key: str) -> RunRecord | None:
    """Return the record of a run; ``None`` where there is none, or one that cannot be of this package.

    A record comes along with a dataset that somebody else has made, so it may hold anything. One is taken for
    a record only if it names exactly the fields that a run of its key fills.
    """
    return _sound(dataset.get_run_info(key)) if has_own_run(dataset, key) else None


def list_runs(dataset: Dataset) -> list[RunRecord]:
    """List the runs of :func:`fiftyone_plugin.label_dataset` on a dataset, newest first."""
    infos = [dataset.get_run_info(key) for key in dataset.list_runs(method=METHOD)]
    infos.sort(key=lambda info: info.timestamp, reverse=True)
    return [record for info in infos if (record := _sound(info)) is not None]


def finished_fields(dataset: Dataset | None) -> list[str]:
    """Return the mask fields that finished runs fill, newest first; none without a dataset."""
    return [run.field for run in list_runs(dataset) if run.is_complete] if dataset else []


def finished_run(dataset: Dataset, field: str) -> RunRecord:
    """Return the record of the finished run that fills a field.

    Raises:
        UsageError: there is none.
    """
    record = read_record(dataset, run_key(field))
    if record is None or not record.is_complete:
        known = ", ".join(finished_fields(dataset)) or "none"
        raise UsageError(f"no finished run fills {field!r}; there are: {known}")
    return record


def _sound(info: fors.RunInfo) -> RunRecord | None:
    config = info.config
    known = [item.name for item in fields(RunRecord) if hasattr(config, item.name)]  # old runs have fewer
    try:
        record = RunRecord(**{name: plain(getattr(config, name)) for name in known})
    except TypeError:
        return None
    record.edits = record.edits if isinstance(record.edits, list) else []
    record.detections = record.detections if isinstance(record.detections, dict) else {}
    return record if _is_sound(record, info.key) else None


def _is_sound(record: RunRecord, key: str) -> bool:
    texts = (record.field, record.out, record.status, record.dataset_id, record.run_id)
    maps = (record.settings, record.counts, record.areas, record.saved_views, record.pending)
    return (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(value, dict) for value in maps)
        and isinstance(record.created_fields, list)
        and bool(record.out)
        and record.key == key
        and record.fields == RunFields(record.field).all
        and all(name in record.fields for name in record.created_fields)
        and all(isinstance(step, dict) for step in record.pending.values())
        and _is_sound_replacement(record.pending.get("replace"))
    )


def _is_sound_replacement(step: dict[str, Any] | None) -> bool:
    if step is None:
        return True
    texts = (step.get(name) for name in ("out", "run_id", "dataset_id"))
    named = all(isinstance(text, str) and text for text in texts)
    return named and isinstance(step.get("created_fields"), list)


def plain(value: Any) -> Any:
    """Turn lists and dicts of the database client's own types into Python's."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


# ---------------------------------------------------------------------- writing


def save_record(dataset: Dataset, record: RunRecord) -> None:
    """Write a record: a new one, or over the one that its key has."""
    if dataset.has_run(record.key):
        update_record(dataset, record.key, **asdict(record))
    else:
        config = dataset.init_run(method=METHOD, **asdict(record))
        dataset.register_run(record.key, config, overwrite=False)


def update_record(dataset: Dataset, key: str, **changes: object) -> None:
    """Change some values of a record, in one write of the database."""
    config = dataset.get_run_info(key).config
    for name, value in changes.items():
        setattr(config, name, value)
    dataset.update_run_config(key, config)


def load_dataset(name: str) -> Dataset:
    """Load a FiftyOne dataset by name.

    Raises:
        UsageError: there is no such dataset.
        MissingDependencyError: FiftyOne's database cannot be reached.
    """
    try:
        import fiftyone as fo

        if not fo.dataset_exists(name):
            known = fo.list_datasets()
            listed = ", ".join(known[:8]) + (" ..." if len(known) > 8 else "") or "none yet"
            raise UsageError(f"no FiftyOne dataset {name!r}; there are: {listed}")
        return fo.load_dataset(name)
    except PseudoMaskError:
        raise
    except Exception as error:  # the client raises its own types, a missing mongod others
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise MissingDependencyError(
            f"FiftyOne's database cannot be reached ({line}). Run: pseudomask doctor"
        ) from error
