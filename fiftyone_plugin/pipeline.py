"""The one place where the stages meet: list, extract, fit, predict, refine, write."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .areas import class_shares, total_areas
from .assembly import create_configured, load_configured_backbone, load_fitted, open_store
from .config import LabelConfig, resolve_refinement
from .errors import ImageReadError, PseudoMaskError, UsageError
from .estimate import layer_bytes, learn
from .exemplars import write_exemplars
from .features.types import ImageFeatures
from .methods.base import LabelScores, Method, Trainable, load_method, save_method
from .native import at_most, labels_or_error
from .parallel import batched, parallel_map
from .pictures import draw_evidence, draw_sheet
from .progress import NullProgress, Progress, TimedProgress
from .provenance import (
    PIPELINE_NAME,
    check_weights,
    describe_model,
    describe_settings,
    read_model,
    saved_backbone,
    versions,
)
from .quality import confidence_map, image_quality, segment_quality
from .refinement import Upsample, create_refiner
from .rundir import RunDirectory, SampleRow, write_json, write_mask
from .sources import ImageItem, list_images

__all__ = [
    "LabelConfig",
    "LabelResult",
    "label",
    "label_items",
    "resolve_refinement",
]

PREDICT_CHUNK = 32
CONFIDENCE_SIDE = 128  # longest side of a confidence map, pixels; patches are coarser
RESOURCES = ("device", "batch_size", "jobs", "cache", "cache_limit")  # what results do not depend on


@dataclass
class LabelResult:
    """What a run produced; the same content as its folder.

    Attributes:
        out: the run's folder.
        samples: a row an image, in the order of the keys.
        class_names: class id -> name.
        run: the content of ``run.json``.
    """

    out: Path
    samples: list[SampleRow]
    class_names: dict[int, str]
    run: dict[str, Any]

    @property
    def labelled(self) -> list[SampleRow]:
        """Rows with a mask."""
        return [row for row in self.samples if row.status == "labelled"]

    @property
    def skipped(self) -> list[SampleRow]:
        """Rows without a mask, with their reasons."""
        return [row for row in self.samples if row.status != "labelled"]

    def mask_path(self, row: SampleRow) -> Path:
        """Return the path of a row's mask."""
        return self.out / "masks" / row.mask

    def confidence_path(self, row: SampleRow) -> Path:
        """Return the path of the confidence map beside a row's mask: (h, w) uint8, margin x 255."""
        return self.out / "confidence" / row.mask


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
        items: images to label, see :func:`fiftyone_plugin.sources.list_images`.
        out: the run's folder; made if absent.
        config: settings.
        model: folder of a fitted model (``DIR/model`` of an earlier run): label without fitting; its method,
            size, refinement, seed and, unless ``config`` names another place of the same weights, its
            backbone are used.
        resume: go on with an unfinished run of the same settings in ``out``.
        restart: replace what an earlier run wrote to ``out``.
        progress: where stages report to.

    Returns:
        The result, with skipped images listed.

    Raises:
        UsageError: impossible settings, or ``out`` is taken.
        MissingDependencyError: weights or an asked-for refiner are not there.
        PseudoMaskError: not one image could be read.
    """
    if not items:
        raise UsageError("no images to label")
    config.validate()
    saved = read_model(model) if model is not None else None
    if model is not None and model.resolve() == RunDirectory(out).model.resolve():
        raise UsageError(f"{model} belongs to the run in {out}; choose another --out for the new images")
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
        settings = describe_settings(method, backbone, size, refine, seed, items, model)
        run = _Run(directory, items, backbone, method, size, refine, config, timed)
        directory.open(settings, resume=resume, restart=restart)
        run.execute(fitted=model is not None, pipeline=describe_model(backbone, size, refine, seed))
        result = run.conclude(settings, start)
        learn(result)
        run.close()  # not after an error: what the store was writing is finished first, when it is freed
        return result
    except OSError as error:
        raise PseudoMaskError(f"the run in {out} stopped: {error}; mend that and use --resume") from error
    finally:
        directory.close()


class _Run:
    """One run in progress: its parts, and the stages in order."""

    def __init__(
        self,
        directory: RunDirectory,
        items: Sequence[ImageItem],
        backbone: Any,
        method: Method,
        size: int,
        refine: str,
        config: LabelConfig,
        progress: TimedProgress,
    ) -> None:
        from .features.source import ImageFeatureSource

        self.config = config
        self.directory = directory
        self.items = {item.key: item for item in items}
        self.backbone = backbone
        self.method = method
        self.refiner = create_refiner(refine)
        self.progress = progress
        batch_size = config.batch_size or (4 if backbone.device == "cpu" else 32)
        self.store = open_store(backbone, size, config)
        self.source = ImageFeatureSource(
            items,
            backbone,
            method.layers,
            size=size,
            batch_size=batch_size,
            store=self.store,
            memo_dir=directory.work / "memo",
        )
        self.rows: dict[str, SampleRow] = {}
        self.work: dict[str, Any] = {}

    def close(self) -> None:
        """Close the feature store."""
        if self.store is not None:
            self.store.close()

    def execute(self, *, fitted: bool, pipeline: dict[str, Any]) -> None:
        """Extract, fit unless fitted, predict and write; stages already done are not done again."""
        self.rows = {row.image: row for row in self.directory.finished() if row.image in self.items}
        model = self.directory.model
        if not fitted and (model / PIPELINE_NAME).is_file():
            self.method = _with_jobs(load_method(model), self.method)
        else:
            todo = len(self.rows) < len(self.items)
            if todo:
                self._extract()
            if not fitted:
                self._fit()
            save_method(self.method, model)
            # last: it tells a resumed run that the model is complete
            write_json(model / PIPELINE_NAME, pipeline)
        self._predict()
        if not any(row.status == "labelled" for row in self.rows.values()):
            self._raise_all_failed()

    def _extract(self) -> None:
        computed = self.source.extract(self.progress)
        layers = set(self.source.resolved.values())
        self.work = {
            "whole": not self.rows and self.store is not None,  # else its seconds tell nothing of a whole run
            "computed": computed,
            "feature_bytes": layer_bytes(layers, self.source.grid, self.backbone.dim),
        }

    def _fit(self) -> None:
        if len(self.source.failures) == len(self.items):
            self._raise_all_failed()
        if isinstance(self.method, Trainable):
            self.method.work_dir = self.directory.work / "fit"
            self.method.device = self.backbone.device
        try:
            self.method.fit(self.source, progress=self.progress)
        except PseudoMaskError:
            if len(self.source.failures) == len(self.items):  # found out only now, without a store
                self._raise_all_failed()
            raise

    def _raise_all_failed(self) -> None:
        listed = [f"{key}: {reason}" for key, reason in list(self.source.failures.items())[:5]]
        raise PseudoMaskError(
            f"none of the {len(self.items)} images could be read. First reasons: {'; '.join(listed)}"
        )

    def _predict(self) -> None:
        todo = {key for key in self.items if key not in self.rows}
        with self.progress.stage("masks", total=len(todo)) as stage:
            for chunk in batched(self.source.lazy(todo), PREDICT_CHUNK):
                self.method.prefetch(chunk)
                start = time.perf_counter()
                scored = [(image, scores) for image in chunk if (scores := self._score(image)) is not None]
                masks = self._refine(scored)
                seconds = (time.perf_counter() - start) / len(chunk)
                for (image, scores), mask in zip(scored, masks, strict=True):
                    if isinstance(mask, ImageReadError):
                        self.source.failures[image.key] = mask.reason
                    else:
                        self._write(image, scores, mask, seconds)
                    stage.update()
                stage.update(len(chunk) - len(scored))

    def _score(self, image: ImageFeatures) -> LabelScores | None:
        try:
            return self.method.predict(image)
        except ImageReadError as error:
            self.source.failures[image.key] = error.reason
            return None

    def _refine(self, scored: list[tuple[ImageFeatures, LabelScores]]) -> list[np.ndarray | ImageReadError]:
        """Return the native masks of a chunk; a refiner that takes its time runs in worker processes."""
        tasks = [(scores, image.size, image.read_image, self.refiner) for image, scores in scored]
        costly = not isinstance(self.refiner, Upsample) and not all(scores.refined for _, scores in scored)
        return parallel_map(labels_or_error, tasks, self.config.jobs if costly else 1)

    def _write(self, image: ImageFeatures, scores: LabelScores, mask: np.ndarray, seconds: float) -> None:
        name = self.items[image.key].mask_name
        classes, shares = class_shares(mask)
        row = SampleRow(
            image=image.key,
            mask=name,
            height=image.size[0],
            width=image.size[1],
            classes=classes,
            shares=shares,
            qualities=_qualities(scores, classes),
            coverage=float((mask > 0).mean()),
            quality=image_quality(scores.scores, scores.agreement),
            seconds=seconds,
        )
        self.directory.append([row])
        write_mask(self.directory.confidence / name, at_most(confidence_map(scores.scores), CONFIDENCE_SIDE))
        write_mask(self.directory.masks / name, mask)
        self.rows[image.key] = row

    def conclude(self, settings: dict[str, Any], start: float) -> LabelResult:
        """Write the tables and pictures of a run whose masks are all there; it began at ``start``."""
        rows = list(self._all_rows())
        names = {k: f"class {k}" for k in range(1, int(getattr(self.method, "n_classes_", 0)) + 1)}
        self.directory.write_classes(names)
        paths = {key: item.path for key, item in self.items.items()}
        labelled = [row for row in rows if row.status == "labelled"]
        with self.progress.stage("contact sheet", total=1, unit="sheet") as stage:
            title = (
                f"{self.method.name} · {self.backbone.name} · {len(labelled)} images · {len(names)} classes"
            )
            draw_sheet(self.directory, rows, paths, names, title)
            if self.method.get_config().get("n_classes") == "auto":
                draw_evidence(self.directory, self.method)
            stage.update()
        with self.progress.stage("exemplars", total=1, unit="set") as stage:
            write_exemplars(self.directory, rows, paths)
            stage.update()
        run = {
            "format": 1,
            "status": "complete",
            "settings": settings,
            "resources": {name: getattr(self.config, name) for name in RESOURCES},
            "versions": versions(),
            "counts": {"images": len(rows), "labelled": len(labelled), "skipped": len(rows) - len(labelled)},
            "classes": {str(k): v for k, v in names.items()},
            "areas": {str(k): share for k, share in total_areas(labelled).items()},
            "work": self.work,
            "images_root": next(iter(self.items.values())).root,
            "seconds": {
                "total": round(time.perf_counter() - start, 3),
                **{k: round(v, 3) for k, v in self.progress.seconds.items()},
            },
        }
        self.directory.write_samples(rows)
        self.directory.write_run(run)
        self.directory.finish()
        return LabelResult(self.directory.root, rows, names, run)

    def _all_rows(self) -> Iterator[SampleRow]:
        for key in self.items:
            if key in self.rows:
                yield self.rows[key]
            else:
                reason = self.source.failures.get(key, "not processed")
                yield SampleRow(image=key, status="skipped", error=reason)


def _qualities(scores: LabelScores, classes: str) -> str:
    """Return the quality of each class of a mask; 0 for one that won nowhere before the refinement."""
    known = dict(zip(scores.labels.tolist(), segment_quality(scores.scores, scores.agreement), strict=True))
    return " ".join(f"{np.nan_to_num(known[int(id_)]):.4f}" for id_ in classes.split())


def _with_jobs(method: Method, like: Method) -> Method:
    method.n_jobs = like.n_jobs
    return method


def label(
    images: Any,
    *,
    out: str | Path | None = None,
    model: str | Path | None = None,
    resume: bool = False,
    restart: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> LabelResult:
    """Give every image a semantic pseudo-mask.

    Args:
        images: a folder, glob, text file of paths, sequence of paths, or a FiftyOne dataset or view.
        out: the run's folder; ``None`` for a new temporary one (``result.out`` says where).
        model: ``DIR/model`` of an earlier run, to label without fitting.
        resume: go on with an unfinished run in ``out``.
        restart: replace an earlier run in ``out``.
        progress: where stages report to, e.g. :class:`fiftyone_plugin.progress.ConsoleProgress`.
        settings: fields of :class:`LabelConfig`, e.g. ``classes=10, seed=1``.

    Returns:
        The result: rows of samples, class names, the run's record and folder.

    Example:
        >>> result = label("photos/", out="labels", classes=10)  # doctest: +SKIP
        >>> len(result.labelled), len(result.skipped)  # doctest: +SKIP
        (120, 1)
    """
    import tempfile

    if hasattr(images, "iter_samples"):
        from .datasets import list_view

        items = [entry.item for entry in list_view(images)]
    else:
        items = list_images(images)
    try:
        config = LabelConfig(**settings)
    except TypeError as error:
        raise UsageError(f"unknown setting: {error}") from error
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="pseudomask-"))
    return label_items(
        items,
        folder,
        config,
        model=Path(model) if model is not None else None,
        resume=resume,
        restart=restart,
        progress=progress,
    )
