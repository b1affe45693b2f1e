"""The one place that reads and writes FiftyOne samples, fields and runs."""

from __future__ import annotations

import contextlib
import logging
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

from .dataset_comparison import is_comparison, list_comparisons, undo_comparison
from .errors import MissingDependencyError, PseudoMaskError, UsageError
from .parallel import batched
from .pipeline import LabelConfig, LabelResult, label_items
from .progress import NullProgress, Progress
from .run_keys import METHOD, run_key
from .rundir import EDITS, RunDirectory
from .saved_views import create_views, delete_views
from .sources import ImageItem, list_images
from .stopping import RunStopped, StoppableProgress, is_at_work
from .view_check import all_samples, check_view

__all__ = ["ViewItem", "default_out", "label_dataset", "list_view", "load_dataset", "run_key", "undo"]

logger = logging.getLogger(__name__)

WRITE_BATCH = 1000


@dataclass(frozen=True)
class ViewItem:
    """One image file and the samples that show it.

    Attributes:
        item: the file, as the pipeline sees it.
        sample_ids: ids of the samples with this ``filepath``; usually one.
    """

    item: ImageItem
    sample_ids: tuple[str, ...]


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


def list_view(view: Any) -> list[ViewItem]:
    """List the image files of a dataset or view.

    Raises:
        UsageError: the view is empty, or its samples are not plain images.
    """
    check_view(view)
    samples = defaultdict(list)
    for filepath, sample_id in zip(*view.values(["filepath", "id"]), strict=True):
        samples[str(Path(filepath).absolute())].append(sample_id)
    return [ViewItem(item, tuple(samples[item.path])) for item in list_images(list(samples))]


def default_out(dataset: Any, field: str) -> Path:
    """Return where masks go if the caller names no folder: FiftyOne's default dataset folder."""
    import fiftyone as fo

    return Path(fo.config.default_dataset_dir) / METHOD / dataset.slug / field


def label_dataset(
    view: Any,
    field: str = "pseudo_mask",
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    config: LabelConfig | None = None,
    model: str | Path | None = None,
    resume: bool = True,
    restart: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> LabelResult:
    """Label the images of a dataset or view and write the masks to new fields of its samples.

    Written are ``field`` (a ``Segmentation`` with ``mask_path``, so nothing large enters the database),
    ``<field>_classes`` (names of the classes present), ``<field>_coverage`` (share of labelled pixels),
    ``<field>_quality`` (how clearly the classes win, a ranking), ``<field>_confidence`` (the same for every
    patch, a heat map), the dataset's mask targets of ``field``, and a custom run ``pseudomask_<field>`` with
    the settings, and the saved views of :func:`fiftyone_plugin.saved_views.create_views`. A run that was
    interrupted goes on where it stopped when it is called again; :func:`undo` removes all of it.

    Args:
        view: dataset or view of images.
        field: name of the new field.
        out: folder for masks and records; ``None`` for :func:`default_out`.
        overwrite: replace the fields if they exist: an earlier run of this function is undone, values of
            other origin are overwritten on the samples of ``view``.
        config: settings, or give its fields as keywords, e.g. ``classes=10``.
        model: folder of a fitted model, to label without fitting.
        resume: go on with an unfinished run of the same field and settings.
        restart: forget an unfinished run of the same field.
        progress: where stages report to.
        settings: fields of :class:`~fiftyone_plugin.pipeline.LabelConfig`, instead of ``config``.

    Returns:
        The result; its ``skipped`` rows are samples without a mask, with the reason.

    Raises:
        UsageError: not images, or a field exists and ``overwrite`` is false.
        RunStopped: somebody stopped it, see :mod:`fiftyone_plugin.stopping`.
    """
    entries = list_view(view)
    if config is not None and settings:
        raise UsageError("give either config or its fields as keywords, not both")
    try:
        config = config or LabelConfig(**settings)
    except TypeError as error:
        raise UsageError(f"unknown setting: {error}") from error
    config.validate()
    dataset = view._dataset
    _check_field_name(field)
    taken_up = dataset.has_run(run_key(field))
    record = _claim(dataset, field, out, overwrite=overwrite, restart=restart)
    directory = Path(record.out)
    unfinished = RunDirectory(directory).read_run() is not None
    stoppable = StoppableProgress(progress or NullProgress(), directory)
    try:
        result = label_items(
            [entry.item for entry in entries],
            directory,
            config,
            model=Path(model) if model is not None else None,
            resume=resume and unfinished and not restart,
            restart=restart and unfinished,
            progress=stoppable,
        )
        _write(dataset, record, result, entries, stoppable)
    except RunStopped as error:
        raise RunStopped(_how_to_go_on(error, field, directory, len(entries))) from error
    except PseudoMaskError:
        if not taken_up:
            _forget_if_nothing_came(dataset, record)
        raise
    return result


def _how_to_go_on(error: RunStopped, field: str, directory: Path, images: int) -> str:
    done = sum(1 for _ in RunDirectory(directory).finished())
    return (
        f"{error}: {done} of {images} masks are done, and kept. To go on, label the same images into "
        f"{field!r} again with the same settings, in the App best scheduled; or delete the run"
    )


def _forget_if_nothing_came(dataset: Any, record: _Record) -> None:
    """Undo a run that failed before its first mask: there is nothing to go on with."""
    import fiftyone as fo

    directory = Path(record.out)
    if is_at_work(directory) or any(RunDirectory(directory).finished()):
        return
    if fo.dataset_exists(dataset.name) and dataset.has_run(run_key(record.field)):
        with contextlib.suppress(OSError):  # a folder that could not be made cannot be removed either
            undo(dataset, run_key(record.field))
        if dataset.has_run(run_key(record.field)):
            dataset.delete_run(run_key(record.field))


def undo(dataset: Any, key: str) -> None:
    """Remove what a run of :func:`label_dataset` made, its fields, files, views and record, and nothing else.

    Fields that existed before the run (``overwrite=True``) stay, without the values that the run wrote.
    Comparisons with the run go too.

    Args:
        dataset: the dataset, or any view of it.
        key: key of the run, ``pseudomask_<field>``; or of a comparison, see
            :func:`fiftyone_plugin.dataset_comparison.compare_runs`.

    Raises:
        UsageError: there is no such run, it was not made by this package, or it is at work.
    """
    dataset = dataset._dataset
    if is_comparison(dataset, key):
        undo_comparison(dataset, key)
        return
    record = _read_record(dataset, key)
    if record is None:
        raise UsageError(
            f"{dataset.name!r} has no run {key!r} of this plugin; there are: {_own_runs(dataset)}"
        )
    if is_at_work(Path(record.out)):
        raise UsageError(f"run {key!r} is at work: stop it, or wait for it, before it is deleted")
    for comparison in list_comparisons(dataset, record.field):
        undo_comparison(dataset, comparison.key)
    delete_views(dataset, key)
    schema = dataset.get_field_schema()
    existed = [name for name in record.fields if name in schema and name not in record.created_fields]
    _clear_own_values(dataset, record, existed)
    for name in record.created_fields:
        if name in schema:
            dataset.delete_sample_field(name)
    if record.field in dataset.mask_targets and record.field in record.created_fields:
        targets = dict(dataset.mask_targets)
        del targets[record.field]
        dataset.mask_targets = targets
        dataset.save()
    directory = RunDirectory(Path(record.out))
    directory.remove_outputs()
    directory.remove_if_empty()
    dataset.delete_run(key)


# ---------------------------------------------------------------------- the record of a run


@dataclass
class _Record:
    """What the custom run stores.

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
    """

    field: str
    out: str
    fields: list[str]
    created_fields: list[str]
    status: str
    settings: dict[str, Any]
    counts: dict[str, int]
    areas: dict[str, float] = dataclass_field(default_factory=dict)
    saved_views: dict[str, str] = dataclass_field(default_factory=dict)


def _own_runs(dataset: Any) -> str:
    return ", ".join(dataset.list_runs(method=METHOD)) or "none"


def _read_record(dataset: Any, key: str) -> _Record | None:
    if not dataset.has_run(key):
        return None
    config = dataset.get_run_info(key).config
    if config.method != METHOD:
        return None
    # the database client hands out lists and dicts of its own types
    known = [name for name in _Record.__dataclass_fields__ if hasattr(config, name)]  # old runs have fewer
    return _Record(**{name: _plain(getattr(config, name)) for name in known})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _save_record(dataset: Any, record: _Record) -> None:
    key = run_key(record.field)
    config = dataset.init_run(method=METHOD, **asdict(record))
    dataset.register_run(key, config, overwrite=True)


def _check_field_name(field: str) -> None:
    if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]*", field):
        raise UsageError(
            f"{field!r} cannot be a field name: use letters, digits and _, beginning with a letter"
        )


def _claim(dataset: Any, field: str, out: str | Path | None, *, overwrite: bool, restart: bool) -> _Record:
    """Reserve the fields for a run, taking up an unfinished one; recorded first, so a crash can be undone."""
    record = _read_record(dataset, run_key(field))
    if record is not None and record.status != "complete" and not restart:
        return record
    if record is not None:
        if record.status == "complete" and not overwrite:
            raise UsageError(
                f"field {field!r} was filled by run {run_key(field)!r}: choose another field name, or "
                f"overwrite=True to replace it"
            )
        undo(dataset, run_key(field))
    fields = [field, *(f"{field}_{name}" for name in ("classes", "coverage", "quality", "confidence"))]
    existing = [name for name in fields if dataset.has_sample_field(name)]
    if existing and not overwrite:
        raise UsageError(f"field {existing[0]!r} exists: choose another field name, or overwrite=True")
    record = _Record(
        field=field,
        out=str(Path(out).absolute() if out is not None else default_out(dataset, field)),
        fields=fields,
        created_fields=[name for name in fields if name not in existing],
        status="running",
        settings={},
        counts={},
    )
    _save_record(dataset, record)
    return record


# ---------------------------------------------------------------------- writing


def _write(
    dataset: Any, record: _Record, result: LabelResult, entries: list[ViewItem], progress: Progress
) -> None:
    """Write the results; a dataset that is deleted meanwhile stays deleted."""
    import fiftyone as fo

    gone = PseudoMaskError(
        f"dataset {dataset.name!r} was deleted while it was labelled; the masks are in {result.out}"
    )
    if not fo.dataset_exists(dataset.name):
        raise gone
    try:
        _write_fields(dataset, record, result, entries, progress)
    except PseudoMaskError:
        raise
    except Exception as error:  # of the database's client, which has a dozen for this
        if fo.dataset_exists(dataset.name):
            raise
        raise gone from error


def _write_fields(
    dataset: Any, record: _Record, result: LabelResult, entries: list[ViewItem], progress: Progress
) -> None:
    import fiftyone as fo

    mask, classes, coverage, quality, confidence = record.fields
    dataset.add_sample_field(mask, fo.EmbeddedDocumentField, embedded_doc_type=fo.Segmentation)
    dataset.add_sample_field(classes, fo.ListField, subfield=fo.StringField)
    dataset.add_sample_field(coverage, fo.FloatField)
    dataset.add_sample_field(quality, fo.FloatField)
    dataset.add_sample_field(confidence, fo.EmbeddedDocumentField, embedded_doc_type=fo.Heatmap)
    with progress.stage("write fields", total=len(result.labelled)) as stage:
        for rows in batched(_rows_by_sample(result, entries), WRITE_BATCH):
            names = result.class_names
            masks = {i: fo.Segmentation(mask_path=str(result.mask_path(row).absolute())) for i, row in rows}
            present = {i: [names[c] for c in row.class_ids] for i, row in rows}
            dataset.set_values(mask, masks, key_field="id")
            dataset.set_values(classes, present, key_field="id")
            dataset.set_values(coverage, {i: row.coverage for i, row in rows}, key_field="id")
            dataset.set_values(quality, {i: row.quality for i, row in rows}, key_field="id")
            maps = {
                i: fo.Heatmap(map_path=str(result.confidence_path(row).absolute()), range=[0, 255])
                for i, row in rows
            }
            dataset.set_values(confidence, maps, key_field="id")
            stage.update(len(rows))
    dataset.mask_targets = {**dataset.mask_targets, mask: dict(result.class_names)}
    dataset.save()
    record.status, record.settings, record.counts = "complete", result.run["settings"], result.run["counts"]
    record.areas = result.run["areas"]
    _save_record(dataset, record)
    create_views(dataset, run_key(record.field))


def _rows_by_sample(result: LabelResult, entries: list[ViewItem]) -> Iterator[tuple[str, Any]]:
    ids = {entry.item.key: entry.sample_ids for entry in entries}
    for row in result.labelled:
        for sample_id in ids[row.image]:
            yield sample_id, row


def _clear_own_values(dataset: Any, record: _Record, names: list[str]) -> None:
    """Empty fields that existed before, on the samples whose mask lies in the run's folder."""
    if not names or not dataset.has_sample_field(record.field):
        return
    masks = tuple(str(Path(record.out) / name) for name in ("masks", EDITS))
    samples = all_samples(dataset)
    paths = zip(*samples.values(["id", f"{record.field}.mask_path"]), strict=True)
    ours = {sample_id: None for sample_id, path in paths if path and path.startswith(masks)}
    for name in names if ours else []:
        samples.set_values(name, ours, key_field="id")
