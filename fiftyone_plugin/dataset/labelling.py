"""Labelling a dataset or view, undoing it, and the saved views of a run."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.progress import NullProgress, Progress
from ..common.remote import folder_of, url_of
from ..errors import PseudoMaskError, UsageError
from ..images.listing import ViewItem, list_view
from ..runs.config import LabelConfig
from ..runs.folder import RunDirectory
from ..runs.labels import DEFAULT_IGNORE, GivenLabels, given_labels
from ..runs.noting import NotedProgress, forget_note, note_end
from ..runs.pipeline import label_items
from ..runs.result import LabelResult
from ..runs.stopping import RunStopped, StoppableProgress, is_at_work
from .claiming import asked_for, claim, default_out
from .comparison import StoredComparison, is_comparison, undo_comparison
from .database import alone, database_errors, refresh, remove_orphans
from .editing.opening import undo_edit
from .editing.run import Written
from .given_labels import labels_of_view
from .journal import begun, pending, refuse_if_busy
from .keys import METHOD, run_key
from .record import RunRecord, check_field_name, has_own_run, read_record
from .recovery import recover
from .undoing import Undone, drop_replacement, refuse_at_work, undo_run
from .views import save_views
from .writeback import is_finished, load_result, write_run

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection as View

__all__ = ["Undone", "create_views", "default_out", "forget_if_nothing_came", "label_dataset", "run_key"]
__all__ += ["undo", "write_result"]

logger = logging.getLogger(__name__)


def label_dataset(
    view: View,
    field: str = "pseudo_mask",
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    config: LabelConfig | None = None,
    model: str | Path | None = None,
    labels: str | Path | None = None,
    names: str | Path | Mapping[int, str] | None = None,
    ignore: Collection[int] = DEFAULT_IGNORE,
    discover: int = 0,
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
    the settings, and the saved views of :func:`create_views`. A run that was
    interrupted goes on where it stopped when it is called again; :func:`undo` removes all of it.

    A run that is to be replaced keeps its masks, fields and views until the new one is complete, also where
    the new one fails or is killed. Its files go then, unless something else still shows them.

    Args:
        view: dataset or view of images.
        field: name of the new field.
        out: folder for masks and records, of this run alone: one that holds a run already, be it the one to
            replace, is refused; ``None`` for a new one, see :func:`default_out`.
        overwrite: replace what an earlier run of this function has filled in this dataset. ``field`` of any
            other origin is refused; of the fields beside it, those that exist with the type that a run
            writes are overwritten on the samples of ``view``.
        config: settings, or give its fields as keywords, e.g. ``classes=10``.
        model: folder of a fitted model, to label without fitting.
        labels: field of labels that a person has given to some samples (masks, detections with masks,
            polylines), or a folder of masks: the classes are learnt from them, see docs/teach.md. The field
            stays as it is.
        names: id -> name, or a file of them, where the mask targets of that field do not say.
        ignore: ids in these masks that mean nothing.
        discover: clusters that no labelled image shows and that stay as classes of their own, at most.
        resume: go on with an unfinished run of the same field and settings.
        restart: forget an unfinished run of the same field.
        progress: where stages report to.
        settings: fields of :class:`~fiftyone_plugin.runs.config.LabelConfig`, instead of ``config``.

    Returns:
        The result; its ``skipped`` rows are samples without a mask, with the reason.

    Raises:
        UsageError: not images, or a field or the folder is taken.
        MissingDependencyError: FiftyOne's database does not answer; masks that are done are kept.
        RunStopped: somebody stopped it, see :mod:`fiftyone_plugin.runs.stopping`.
    """
    if url_of(out) is not None:
        raise UsageError(f"a dataset shows masks of this machine; choose a folder here, not {out}")
    safe = "Masks that are done are kept. Once it does, label the same images into the same field again"
    with database_errors(safe):
        entries = list_view(view)
        if config is not None and settings:
            raise UsageError("give either config or its fields as keywords, not both")
        config = config or LabelConfig(**settings)
        check_field_name(field)
        dataset = view._dataset
        lesson = {"names": names, "ignore": tuple(ignore), "discover": discover}
        given = _given(view, entries, field, labels, lesson)
        taught = {"labels": labels, **lesson} if given is not None else None
        asked = asked_for(config, model, given)
        written = _written_before(dataset, field, asked, entries)
        if written is not None and not restart:
            return written
        with alone(dataset.name):
            record, new = claim(
                dataset,
                field,
                out,
                overwrite=overwrite,
                restart=restart,
                asked=asked,
                view=view,
                taught=taught,
            )
        made = Path(record.out)
        noted = NotedProgress(StoppableProgress(progress or NullProgress(), made), made)
        try:
            folder = folder_of(model) if model is not None else None
            unfinished = RunDirectory(made).read_run() is not None
            result = _made_before(dataset, record, entries, asked) or label_items(
                [entry.item for entry in entries],
                made,
                config,
                model=folder,
                labels=given,
                resume=resume and unfinished,
                restart=restart and unfinished,
                progress=noted,
            )
            with alone(dataset.name):
                write_result(dataset, record, result, entries, noted)
        except RunStopped as error:
            note_end(made, error)
            raise RunStopped(_how_to_go_on(error, field, made, len(entries))) from error
        except Exception as error:
            note_end(made, error)
            if new and isinstance(error, PseudoMaskError):
                forget_if_nothing_came(dataset, record)
            raise
        forget_note(made)
        return result


def _given(
    view: View, entries: list[ViewItem], field: str, labels: str | Path | None, how: dict[str, Any]
) -> GivenLabels | None:
    """Return what is to be learnt from, if anything is given."""
    if labels is None:
        return given_labels([], None, how["names"], how["ignore"], how["discover"])
    if str(labels) == field:
        raise UsageError(f"the labels to learn from are in {field!r}: write the masks to another field")
    return labels_of_view(view, entries, labels, **how)


def _written_before(dataset: Dataset, field: str, asked: str, entries: list[ViewItem]) -> LabelResult | None:
    """Finish what was begun on a dataset; returns the result if that was the writing of this very run."""
    key = run_key(field)
    refresh(dataset)
    remove_orphans(dataset)
    steps = pending(dataset, key) if has_own_run(dataset, key) else {}
    recover(dataset, labelling=key)
    begun = (steps.get("views") or steps.get("remove") or {}).get("asked")
    record = read_record(dataset, key) if begun and begun == asked else None
    if record is None or not record.is_complete or "replace" in record.pending:
        return None
    if not is_finished(Path(record.out)):
        return None
    result = load_result(Path(record.out))
    return result if _shows(result, entries) else None


def _shows(result: LabelResult, entries: list[ViewItem]) -> bool:
    return {row.image for row in result.samples} == {entry.item.key for entry in entries}


def _made_before(
    dataset: Dataset, record: RunRecord, entries: list[ViewItem], asked: str
) -> LabelResult | None:
    """Return the result of masks that are all there, where only the writing of fields was cut short."""
    directory = Path(record.out)
    if not is_finished(directory):
        return None
    result = load_result(directory)
    steps = pending(dataset, record.key)
    wanted = (steps.get("replace") or steps.get("label") or {}).get("asked")
    if not _shows(result, entries) or wanted not in (None, "", asked):
        raise UsageError(
            f"the masks of {record.field!r} are done and not yet written to the dataset, of other images "
            f"or with other settings: label with the same, or restart=True"
        )
    return result


def _how_to_go_on(error: RunStopped, field: str, directory: Path, images: int) -> str:
    done = sum(1 for _ in RunDirectory(directory).finished())
    return (
        f"{error}: {done} of {images} masks are done, and kept. To go on, choose Go on in the panel "
        f"Pseudo-masks, best scheduled, or label the same images into {field!r} again with the same settings"
    )


def forget_if_nothing_came(dataset: Dataset, record: RunRecord) -> None:
    """Undo a run that failed before its first mask: there is nothing to go on with."""
    import fiftyone as fo

    directory = Path(record.out)
    busy = is_at_work(directory) or any(RunDirectory(directory).finished())
    if busy or not fo.dataset_exists(dataset.name):
        return
    stored = read_record(dataset, record.key)
    if stored is None:
        return
    try:
        (undo_run if stored.out == record.out else drop_replacement)(dataset, record.key)
    except OSError as error:  # a folder that could not be made cannot be removed either
        logger.info("%s is left: %s", directory, error)
        if stored.out == record.out:
            dataset.delete_run(record.key)


def undo(dataset: Dataset, key: str | RunRecord | StoredComparison | Written) -> Undone:
    """Remove what a run made in a dataset, a comparison, or what an edit of masks changed, and nothing else.

    Of a run of :func:`label_dataset` fields, files, views, record and the comparisons with it go. Fields that
    existed before (``overwrite=True``) stay, without the values that the run wrote. Files go only if the run
    was made in this very dataset and nothing else shows them: no other field, dataset or run. In a clone of
    the dataset, or one that was exported and imported again, the files stay. What was left, and why, is
    returned. A run that is in no dataset is its folder: delete it.

    ``key`` is that of a run, ``pseudomask_<field>``, or of a comparison; or what ``compare`` or an edit of
    masks has returned. An edit is taken back if it is the last one of its run.

    Raises:
        UsageError: there is no such run, it was not made by this package, or it is at work; or an edit is
            not the last one in force.
        PseudoMaskError: another process changes it at this moment.
        MissingDependencyError: FiftyOne's database does not answer.
    """
    if isinstance(dataset, (str, os.PathLike)):
        raise UsageError(
            f"undo takes a FiftyOne dataset and the key of a run, not {os.fspath(dataset)!r}: load it first, "
            "fiftyone.load_dataset(name); a run that is in no dataset is its folder, delete that"
        )
    dataset = dataset._dataset
    if isinstance(key, Written):
        undo_edit(dataset, key.field, key.edit.number)
        return Undone(run_key(key.field))
    key = key if isinstance(key, str) else key.key
    with database_errors("Once it does, delete the run again: what is left of it goes then"):
        if key in recover(dataset):
            return Undone(key)
        if is_comparison(dataset, key):
            refuse_if_busy(dataset, key)
            undo_comparison(dataset, key)
            return Undone(key)
        if not has_own_run(dataset, key):
            known = ", ".join(dataset.list_runs(method=METHOD)) or "none"
            raise UsageError(f"{dataset.name!r} has no run {key!r} of this plugin; there are: {known}")
        refuse_if_busy(dataset, key)
        record = read_record(dataset, key)
        if record is not None:
            refuse_at_work(dataset, record)
        return undo_run(dataset, key)


def write_result(
    dataset: Dataset,
    record: RunRecord,
    result: LabelResult,
    entries: list[ViewItem],
    progress: Progress | None = None,
) -> None:
    """Write what a run made of the images of a view; a dataset that is deleted meanwhile stays deleted.

    ``record`` is the run, as :func:`~.claiming.claim` returned it, ``result`` what it made, and ``entries``
    are the images, see :func:`fiftyone_plugin.images.listing.list_view`.

    Raises:
        PseudoMaskError: the dataset was deleted.
    """
    import fiftyone as fo

    gone = PseudoMaskError(
        f"dataset {dataset.name!r} was deleted while it was labelled; the masks are in {result.out}"
    )
    if not fo.dataset_exists(dataset.name):
        raise gone
    ids = {entry.item.key: entry.sample_ids for entry in entries}
    rows = ((sample_id, row) for row in result.labelled for sample_id in ids.get(row.image, ()))
    try:
        write_run(dataset, record, result, rows, progress)
    except PseudoMaskError:
        raise
    except Exception as error:  # of the database's client, which has a dozen for this
        if fo.dataset_exists(dataset.name):
            raise
        raise gone from error


def create_views(dataset: Dataset, run_key: str) -> dict[str, str]:
    """Save the views of a run, replacing those that an earlier call saved.

    - *review first*: the fifth of the masks with the lowest quality, lowest first;
    - *accept*: the two fifths with the highest quality, highest first;
    - *rare classes*: images that show a class which at most one image in twenty shows, or, where there is no
      such class, the class that the fewest images show.

    They are queries on the run's fields, with thresholds from the values that are there now, so labels that
    change later move in and out of them. Where there is no quality, coverage stands in. A saved view of
    somebody else is never replaced: where its name is taken, a view is called ``<name> 2`` and so on.

    Returns:
        purpose -> name of the saved view; recorded with the run as ``saved_views``.

    Raises:
        UsageError: there is no such run, or it is not finished.
    """
    dataset = dataset._dataset
    with database_errors():
        recover(dataset)
        record = read_record(dataset, run_key)
        if record is None or not record.is_complete:
            raise UsageError(
                f"{dataset.name!r} has no finished run {run_key!r} of pseudo-masks: label it first"
            )
        refuse_if_busy(dataset, run_key)
        with begun(dataset, run_key, "views"):  # carried on if it is cut short
            return save_views(dataset, run_key)
