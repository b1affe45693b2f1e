"""The one place where the stages meet: list, extract, fit, predict, refine, write."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from ..common.files import real_path
from ..common.memory import is_out_of_memory
from ..common.progress import NullProgress, Progress, TimedProgress
from ..errors import PseudoMaskError, UsageError
from ..images.left_out import LeftOut
from ..images.listing import ImageItem
from ..masks.files import is_whole
from .cleaning import FOLDERS
from .config import LabelConfig, resolve_refinement
from .estimate import learn
from .folder import RunDirectory
from .given import given_sets, remove_given
from .model import (
    check_weights,
    create_configured,
    describe_model,
    load_configured_backbone,
    load_fitted,
    open_store,
    read_model,
)
from .provenance import describe_settings, saved_backbone
from .result import LabelResult
from .running import Run
from .samples import read_samples

__all__ = [
    "LabelConfig",
    "LabelResult",
    "label_items",
    "resolve_refinement",
]


def label_items(
    items: Sequence[ImageItem],
    out: Path,
    config: LabelConfig,
    *,
    model: Path | None = None,
    resume: bool = False,
    restart: bool = False,
    progress: Progress | None = None,
) -> LabelResult:
    """Label images into a run folder.

    Args:
        items: images to label, see :func:`fiftyone_plugin.images.listing.list_images`.
        out: the run's folder; made if absent.
        config: settings.
        model: folder of a fitted model (``DIR/model`` of an earlier run): label without fitting; its method,
            size, refinement, seed and, unless ``config`` names another place of the same weights, its
            backbone are used.
        resume: go on with an unfinished run of the same settings in ``out``: images that changed since are
            labelled anew, images that are gone are listed as skipped. A finished run of the same settings and
            images is returned as it is.
        restart: replace what an earlier run wrote to ``out``; a finished run stays until the new one is
            finished too, and if that is interrupted ``resume`` goes on with the new one.
        progress: where stages report to.

    Returns:
        The result, with skipped images listed.

    Raises:
        UsageError: impossible settings, ``out`` is taken or the folder of the images, or there is another
            run to go on with.
        MissingDependencyError: weights or an asked-for refiner are not there.
        PseudoMaskError: not one image could be read, or the disk or memory ran short.
    """
    if not items:
        raise UsageError("no images to label")
    saved = read_model(model) if model is not None else None
    if model is not None and real_path(model) == real_path(RunDirectory(out).model):
        raise UsageError(f"{model} belongs to the run in {out}; choose another --out for the new images")
    _refuse_folder_of_images(items, out)
    refine = resolve_refinement(saved["refine"] if saved else config.refine)
    if config.recut is not None and model is None:
        raise UsageError("recut cuts the classes of a fitted model: name its folder, DIR/model of a run")
    method = load_fitted(model, config.recut) if model is not None else create_configured(config, refine)
    method.n_jobs = config.jobs
    timed = TimedProgress(progress or NullProgress())
    start = time.perf_counter()
    directory = RunDirectory(out)
    directory.reserve(resume=resume, restart=restart)
    try:
        with timed.stage("load backbone", total=1, unit="model") as stage:
            name = config.backbone or (saved_backbone(saved) if saved else None)
            backbone = load_configured_backbone(name, config, saved.get("precision") if saved else None)
            stage.update()
        if saved:
            check_weights(saved, backbone)
        size = saved["size"] if saved else config.size
        seed = saved["seed"] if saved else config.seed
        for layer in method.inputs:  # an impossible one must not cost an earlier run
            backbone.resolve_layer(layer)
        settings = describe_settings(method, backbone, size, refine, seed, items, model)
        store = open_store(backbone, size, config)  # one that cannot be opened must not begin a run
        folder = directory.open(settings, resume=resume, restart=restart, items=items)
        left_out = getattr(items, "left_out", None) or LeftOut()
        if (finished := _read_finished(folder, left_out)) is not None:
            folder.finish()
            if store is not None:
                store.close()
            return finished
        run = Run(folder, backbone, store, method, size, refine, config, timed, left_out)
        run.execute(fitted=model is not None, pipeline=describe_model(backbone, size, refine, seed))
        result = run.conclude(settings, start)
        learn(result)
        remove_given(out, keep=given_sets(items))  # of a run that this one has replaced
        run.close()  # not after an error: what the store was writing is finished first, when it is freed
        return result
    except (OSError, MemoryError, RuntimeError) as error:
        words = _in_words(error, out)
        if words is None:
            raise
        raise words from error
    finally:
        directory.close()


def _in_words(error: Exception, out: Path) -> PseudoMaskError | None:
    """Return what a person should read of an error of the disk or of memory; ``None`` for any other error."""
    if is_out_of_memory(error):
        return PseudoMaskError(
            f"the run in {out} stopped: memory ran short; use a smaller --batch-size or --size, or fewer "
            "--jobs. What is done is kept: --resume goes on with the same settings"
        )
    if isinstance(error, OSError) and not isinstance(error, PseudoMaskError):
        return PseudoMaskError(f"the run in {out} stopped: {error}; mend that and use --resume")
    return None


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
    if target in real and not os.path.exists(out / "run.json"):
        raise UsageError(f"{out} is the folder of the images; choose another --out, such as {out / 'labels'}")


def _read_finished(folder: RunDirectory, left_out: LeftOut) -> LabelResult | None:
    """Return the run in a folder if it is finished and its masks are all there."""
    run = folder.read_run()
    if run is None or run.get("status") != "complete" or not folder.samples_csv.is_file():
        return None
    rows = read_samples(folder.samples_csv)
    if not all(is_whole(folder.masks / row.mask) for row in rows if row.status == "labelled"):
        return None
    names = {int(id_): str(name) for id_, name in run.get("classes", {}).items()}
    return LabelResult(folder.final_root, rows, names, run, left_out)
