"""The record of a run in a FiftyOne dataset: read and checked here, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from dataclasses import field as dataclass_field
from typing import Any

from ..errors import MissingDependencyError, PseudoMaskError, UsageError
from .keys import FIELD_SUFFIXES, METHOD, run_key

__all__ = [
    "RunFields",
    "RunRecord",
    "check_field_name",
    "has_own_run",
    "load_dataset",
    "plain",
    "read_record",
    "save_record",
    "update_record",
]

COMPLETE, RUNNING = "complete", "running"


@dataclass(frozen=True)
class RunFields:
    """Names of the sample fields that a run fills.

    Attributes:
        mask: the mask field, from which the others have their names.
    """

    mask: str

    @property
    def all(self) -> list[str]:
        """The mask field, then those beside it: classes, coverage, quality, confidence."""
        return [self.mask, *(f"{self.mask}_{suffix}" for suffix in FIELD_SUFFIXES)]

    @property
    def types(self) -> dict[str, dict[str, Any]]:
        """Name -> arguments of FiftyOne's ``add_sample_field``."""
        import fiftyone as fo

        label = {"ftype": fo.EmbeddedDocumentField}
        types: list[dict[str, Any]] = [
            {**label, "embedded_doc_type": fo.Segmentation},
            {"ftype": fo.ListField, "subfield": fo.StringField},
            {"ftype": fo.FloatField},
            {"ftype": fo.FloatField},
            {**label, "embedded_doc_type": fo.Heatmap},
        ]
        return dict(zip(self.all, types, strict=True))

    def unfit(self, schema: Mapping[str, Any]) -> list[str]:
        """Return the names that a schema has with another type than a run needs."""
        return [
            name for name, wanted in self.types.items() if name in schema and not _fits(schema[name], wanted)
        ]


def _fits(found: Any, wanted: Mapping[str, Any]) -> bool:
    if type(found) is not wanted["ftype"]:
        return False
    label = wanted.get("embedded_doc_type")
    if label is not None:
        return found.document_type is label
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
        areas: class id -> share of all pixels.
        saved_views: purpose -> name of the saved views made with the run.
        dataset_id: the dataset that it was made in; a clone has the record too, but another id. Empty in
            records of earlier versions.
        run_id: the same as in the ``run.json`` of ``out``; empty in records of earlier versions.
        pending: what was begun and is not done yet, see :mod:`.journal`.
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
    pending: dict[str, Any] = dataclass_field(default_factory=dict)

    @property
    def key(self) -> str:
        """Key of the custom run."""
        return run_key(self.field)

    @property
    def is_complete(self) -> bool:
        """Whether the run has filled its fields."""
        return self.status == COMPLETE


def check_field_name(field: str) -> None:
    """Check that a field can have this name.

    Raises:
        UsageError: it cannot.
    """
    if not isinstance(field, str) or not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]*", field):
        raise UsageError(
            f"{field!r} cannot be a field name: use letters, digits and _, beginning with a letter"
        )


def has_own_run(dataset: Any, key: str) -> bool:
    """Return whether a dataset has a run of this package under a key, whatever its record holds."""
    return dataset.has_run(key) and getattr(dataset.get_run_info(key).config, "method", None) == METHOD


def read_record(dataset: Any, key: str) -> RunRecord | None:
    """Return the record of a run; ``None`` where there is none, or one that cannot be of this package.

    A record comes along with a dataset that somebody else has made, so it may hold anything. One is taken for
    a record only if it names exactly the fields that a run of its key fills.
    """
    if not has_own_run(dataset, key):
        return None
    config = dataset.get_run_info(key).config
    known = [item.name for item in fields(RunRecord) if hasattr(config, item.name)]  # old runs have fewer
    try:
        record = RunRecord(**{name: plain(getattr(config, name)) for name in known})
    except TypeError:
        return None
    return record if _is_sound(record, key) else None


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
    return all(isinstance(text, str) and text for text in texts) and isinstance(
        step.get("created_fields"), list
    )


def plain(value: Any) -> Any:
    """Turn lists and dicts of the database client's own types into Python's."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def save_record(dataset: Any, record: RunRecord, *, renew: bool = False) -> None:
    """Write a record: a new one, or into the one that its key has.

    Args:
        dataset: the dataset.
        record: the record.
        renew: forget what edits and conversions have added to the one that is there.
    """
    if not dataset.has_run(record.key):
        config = dataset.init_run(method=METHOD, **asdict(record))
        dataset.register_run(record.key, config, overwrite=False)
        return
    added: dict[str, Any] = {"edits": [], "detections": {}} if renew else {}
    update_record(dataset, record.key, **asdict(record), **added)


def update_record(dataset: Any, key: str, **changes: Any) -> None:
    """Change some values of a record, in one write of the database."""
    config = dataset.get_run_info(key).config
    for name, value in changes.items():
        setattr(config, name, value)
    dataset.update_run_config(key, config)


def load_dataset(name: str) -> Any:
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


def _own_runs(dataset: Any) -> str:
    return ", ".join(dataset.list_runs(method=METHOD)) or "none"
