"""The one place where the stages meet: list, extract, fit, predict, refine, write."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..common.files import real_path
from ..common.memory import is_out_of_memory
from ..common.progress import NullProgress, Progress, TimedProgress
from ..common.stamps import file_stamp
from ..errors import PseudoMaskError, UsageError
from ..images.left_out import LeftOut
from ..images.listing import ImageItem
from .cleaning import FOLDERS, TOKENS
from .config import LabelConfig, resolve_refinement, with_number_of_classes
from .estimate import learn
from .folder import RunDirectory
from .given import given_sets, remove_given
from .labelling import Place, engine_of
from .labels import GivenLabels
from .model import FittedModel, create_configured
from .provenance import describe_settings, versions
from .record import RunDocument
from .result import LabelResult
from .samples import SampleRow, read_samples
from .session import Session
from .spool import fetch_model, open_run
from .stages import conclude, fit, none_readable, predict, taught_method, teach

if TYPE_CHECKING:
    from ..features.source import ImageFeatureSource
    from ..methods.base import Method
    from ..methods.taught import Taught

__all__ = ["LabelConfig", "LabelResult", "label_items", "resolve_refinement"]

# what results do not depend on
RESOURCES = ("device", "batch_size", "jobs", "cache", "cache_limit", "engine", "workers")


def label_items(
    items: Sequence[ImageItem],
    out: Path,
    config: LabelConfig,
    *,
    model: Path | None = None,
    labels: GivenLabels | None = None,
    resume: bool = False,
    restart: bool = False,
    progress: Progress | None = None,
) -> LabelResult:
    """Label images into a run folder, which is made if absent; the result lists skipped images too.

    Args:
        items: images to label, see :func:`fiftyone_plugin.images.listing.list_images`.
        out: the run's folder.
        config: settings.
        model: folder of a fitted model (``DIR/model`` of an earlier run): label without fitting; its method,
            size, refinement, seed and, unless ``config`` names another place of the same weights, its
            backbone are used.
        labels: masks of some of the images, to learn the classes from, see :mod:`.labels`; with a model, it
            is taught, and its folder stays as it is.
        resume: go on with an unfinished run of the same settings in ``out``: images that changed since are
            labelled anew, images that are gone are listed as skipped. A finished run of the same settings and
            images is returned as it is.
        restart: replace what an earlier run wrote to ``out``; a finished run stays until the new one is
            finished too, and if that is interrupted ``resume`` goes on with the new one.
        progress: where stages report to.

    Raises:
        UsageError: impossible settings, ``out`` is taken or the folder of the images, or there is another
            run to go on with.
        MissingDependencyError: weights or an asked-for refiner are not there.
        PseudoMaskError: not one image could be read, or the disk or memory ran short.
    """
    order = _settle(items, out, config, model, labels, progress)
    directory = open_run(out)
    directory.reserve(resume=resume, restart=restart)
    try:
        session = _open_session(order)
        wanted = FittedModel.of(order.method, session.backbone, session.size, order.refine, order.seed)
        settings = _settings(order, wanted, session)
        folder = directory.open(settings, resume=resume, restart=restart, items=items)
        if (finished := _read_finished(folder, order.left_out)) is not None:
            folder.finish()
            return finished
        return _fit_and_label(order, wanted, session, settings, folder)
    except (OSError, MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise PseudoMaskError(
                f"the run in {out} stopped: memory ran short; use a smaller --batch-size or --size, or fewer "
                "--jobs. What is done is kept: --resume goes on with the same settings"
            ) from error
        if isinstance(error, OSError) and not isinstance(error, PseudoMaskError):
            raise PseudoMaskError(f"the run in {out} stopped: {error}; mend that and use --resume") from error
        raise
    finally:
        directory.close()


@dataclass(frozen=True)
class _Order:
    """What is to be done, complete and checked, before any folder is touched."""

    items: Sequence[ImageItem]
    out: Path
    config: LabelConfig  # with the number of classes
    model: Path | None  # folder of the fitted model that is given
    given: FittedModel | None  # that model; none where one is to be fitted
    labels: GivenLabels | None
    method: Method  # not fitted, unless a model is given and nothing is taught
    refine: str
    seed: int
    progress: TimedProgress
    began: float = field(default_factory=time.perf_counter)

    @property
    def left_out(self) -> LeftOut:
        """Files beside the images that are none."""
        return getattr(self.items, "left_out", None) or LeftOut()


def _settle(
    items: Sequence[ImageItem],
    out: Path,
    config: LabelConfig,
    model: Path | None,
    labels: GivenLabels | None,
    progress: Progress | None,
) -> _Order:
    if not items:
        raise UsageError("no images to label")
    config = with_number_of_classes(config, len(items), labels is not None)
    folder = given = None
    if model is not None:
        folder = fetch_model(model)
        given = FittedModel.load(folder)
        if real_path(model) == real_path(out / "model"):
            raise UsageError(f"{model} belongs to the run in {out}; choose another --out for the new images")
        given = given if config.recut is None else given.recut(config.recut)
    elif getattr(items, "shard", None) is not None:
        raise UsageError(
            "a shard is labelled with a fitted model, the same one for all shards: label some of the images "
            "first, and name the folder model of that run (--model)"
        )
    elif config.recut is not None:
        raise UsageError("recut cuts the classes of a fitted model: name its folder, DIR/model of a run")
    engine_of(config)  # refuses what cannot be
    _refuse_folder_of_images(items, out)
    refine = resolve_refinement(given.refine if given else config.refine)
    method = given.method if given else create_configured(config, refine)
    if labels is not None:
        method = taught_method(method, labels)
    seed, timed = given.seed if given else config.seed, TimedProgress(progress or NullProgress())
    return _Order(items, out, config, folder, given, labels, method, refine, seed, timed)


def _open_session(order: _Order) -> Session:
    with order.progress.stage("load backbone", total=1, unit="model") as stage:
        session = Session.open(order.config, order.given, images=len(order.items))
        stage.update()
    for layer in order.method.inputs:  # an impossible one must not cost an earlier run
        session.backbone.resolve_layer(layer)
    return session


def _settings(order: _Order, wanted: FittedModel, session: Session) -> dict[str, object]:
    """Return what the masks depend on, as a run's record tells it."""
    settings = describe_settings(wanted, session.backbone, order.items, order.model)
    if order.labels is not None:
        settings["labels"] = order.labels.describe()
    if order.given is None and len(order.items) > order.config.fit_images:
        settings["fit_images"] = order.config.fit_images
    return settings


def _fit_and_label(
    order: _Order, wanted: FittedModel, session: Session, settings: dict[str, object], folder: RunDirectory
) -> LabelResult:
    """Do what is left to do of a run, and conclude it."""
    config = order.config
    # what another run has kept of its images is read, and nothing is added to it
    memos = folder.work / "memo" if order.model is None else order.model.parent / TOKENS
    source = session.source(folder.items, order.method.inputs, memos, order.method.seen_in_tiles)
    done = _finished_rows(folder)
    todo = [item for item in folder.items if item.key not in done]
    fits = order.given is None and not FittedModel.is_in(folder.model)
    with engine_of(config) as engine:
        place = Place(engine, config, session, source, folder)
        with place.features(wanted.method):
            fitted = _fit_or_load(order, wanted, session, source, folder)
        folder.checkpoint()
        for row in predict(place.labelling(fitted, memos), engine, todo, source, folder, order.progress):
            done[row.image] = row
    if not done:
        raise none_readable(source)
    record = RunDocument(
        settings,
        resources={name: getattr(config, name) for name in RESOURCES},
        versions=versions(),
        work={"images": len(todo), "forwards": source.forwards, "fitted": fits},
        left_out=order.left_out.to_json(),
        images_root=folder.items[0].root,
        shard=None if (shard := getattr(order.items, "shard", None)) is None else str(shard),
    )
    rows = [
        done.get(item.key)
        or SampleRow(
            image=item.key,
            status="skipped",
            error=source.failures.get(item.key, "not processed"),
            stamp=file_stamp(item.path),
        )
        for item in folder.items
    ]
    record = conclude(folder, fitted, session, rows, record, order.progress, order.began)
    result = LabelResult(folder.final_root, rows, record.class_names, record.to_json(), order.left_out)
    if config.engine == "local":
        learn(result)  # how long it takes on this machine
    remove_given(order.out, keep=given_sets(order.items))  # of a run that this one has replaced
    return result


def _finished_rows(folder: RunDirectory) -> dict[str, SampleRow]:
    """Return key -> row of the masks that are there, of images that are still the ones that were labelled."""
    paths = {item.key: item.path for item in folder.items}
    return {
        row.image: row
        for row in folder.finished()
        # earlier versions wrote no stamp
        if row.image in paths and row.stamp in ("", file_stamp(paths[row.image]))
    }


def _fit_or_load(
    order: _Order, wanted: FittedModel, session: Session, source: ImageFeatureSource, folder: RunDirectory
) -> FittedModel:
    """Return the model as the run's folder holds it, fitted unless it was.

    What a resumed run would load labels the images: the same bytes, interrupted or not.
    """
    is_fitted, labels = order.given is not None, order.labels
    if not FittedModel.is_in(folder.model) or (is_fitted and labels is None):
        session.prepare(wanted.method, folder.work / "fit")
        if not is_fitted:
            sample = source.sample(order.config.fit_images, order.config.seed)
            fit(source, sample, wanted.method, order.progress)
        if labels is not None:
            teach(source, cast("Taught", wanted.method), labels, order.progress)
        wanted.save(folder.model)
    model = FittedModel.load(folder.model)
    session.prepare(model.method)
    return model


def _refuse_folder_of_images(items: Sequence[ImageItem], out: Path) -> None:
    """Refuse to mix what a run writes with the images; runs of earlier versions that did may go on.

    Images among the masks of a run are never those of that run: it would replace what it reads.
    """
    target = real_path(out)
    folders = {os.path.dirname(item.path) for item in items} | {getattr(items, "folder", None) or ""}
    real = {real_path(folder) for folder in folders if folder}
    written = tuple(os.path.join(target, name, "") for name in FOLDERS)
    if any(os.path.join(folder, "").startswith(written) for folder in real):
        raise UsageError(f"the images are among what a run writes to {out}; choose another --out")
    if target in real and not (out / "run.json").exists():
        raise UsageError(f"{out} is the folder of the images; choose another --out, such as {out / 'labels'}")


def _read_finished(folder: RunDirectory, left_out: LeftOut) -> LabelResult | None:
    """Return the run in a folder if it is finished and its masks are all there."""
    record = folder.read_run()
    if record is None or not record.is_complete or not folder.samples_csv.is_file():
        return None
    rows = read_samples(folder.samples_csv)
    if not all(folder.has_mask(row.mask) for row in rows if row.status == "labelled"):
        return None
    return LabelResult(folder.final_root, rows, record.class_names, record.to_json(), left_out)
