"""The one place where the stages meet: list, extract, fit, predict, refine, write."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ._version import __version__
from .errors import ImageReadError, MissingDependencyError, PseudoMaskError, UsageError
from .features.types import ImageFeatures
from .images import read_image
from .methods.base import LabelScores, Method, create_method, load_method, save_method
from .parallel import batched
from .progress import NullProgress, Progress, TimedProgress
from .refinement import create_refiner, crf_available, resize_scores
from .refinement.crf import INSTALL_HINT
from .rundir import RunDirectory, SampleRow, write_mask
from .sources import ImageItem, list_images
from .visual import contact_sheet

__all__ = ["LabelConfig", "LabelResult", "label", "label_items", "resolve_refinement"]

logger = logging.getLogger(__name__)

PREDICT_CHUNK = 32
SHEET_IMAGES = 12
GIB = 1024**3


@dataclass
class LabelConfig:
    """Settings of a run; every one has a default.

    Attributes:
        method: name of the method.
        classes: number of classes K of the data set.
        backbone: backbone name or checkpoint path, ``None`` for the default.
        size: side of the network input in pixels.
        refine: ``crf``, ``none``, or ``None`` for crf where it is installed.
        seed: seed of everything random.
        device: torch device or ``auto``.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        batch_size: images in a forward pass, ``None`` for 4 on a CPU and 32 on other devices.
        jobs: worker processes for per-image work, 0 for all cores.
        cache: keep features on disk for other runs.
        cache_limit: bytes that the cache may take.
        options: further constructor arguments of the method.
    """

    method: str = "lightcluster"
    classes: int = 20
    backbone: str | None = None
    size: int = 448
    refine: str | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    jobs: int = 0
    cache: bool = True
    cache_limit: int = 20 * GIB
    options: dict[str, Any] = field(default_factory=dict)

    def validate(self) -> None:
        """Check what can be checked without loading anything heavy.

        Raises:
            UsageError: a value is out of range.
        """
        if not 1 <= self.classes <= 65_535:
            raise UsageError(f"the number of classes must be within 1..65535, got {self.classes}")
        if not 14 <= self.size <= 4096:
            raise UsageError(f"the input size must be within 14..4096 pixels, got {self.size}")
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"the batch size must be at least 1, got {self.batch_size}")
        if self.seed < 0:
            raise UsageError(f"the seed must not be negative, got {self.seed}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise UsageError(f"unknown precision {self.precision!r}; known: auto, float32, bfloat16")


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


def resolve_refinement(refine: str | None) -> str:
    """Return the refiner to use; without a wish, ``crf`` where pydensecrf is installed.

    Where it is not, one line says that refinement is skipped.

    Raises:
        MissingDependencyError: ``crf`` was asked for and is not installed.
    """
    if refine is None:
        if not crf_available():
            logger.warning("refinement is skipped: pydensecrf is not installed; to add it: %s", INSTALL_HINT)
        return "crf" if crf_available() else "none"
    create_refiner(refine)
    if refine == "crf" and not crf_available():
        raise MissingDependencyError(
            f"refinement 'crf' needs pydensecrf: {INSTALL_HINT}; or use --refine none"
        )
    return refine


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
            backbone, size and refinement are used.
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
    saved = _read_saved(model) if model is not None else None
    refine = saved["refine"] if saved else resolve_refinement(config.refine)
    if saved and refine == "crf":
        refine = resolve_refinement("crf")
    timed = TimedProgress(progress or NullProgress())
    start = time.perf_counter()
    with timed.stage("load backbone", total=1, unit="model") as stage:
        backbone = _load_backbone(saved["backbone"] if saved else config.backbone, config)
        stage.update()
    size = int(saved["size"]) if saved else config.size
    method = load_method(model) if model is not None else _create(config, refine)
    if saved:
        _check_weights(saved, backbone)
    method.n_jobs = config.jobs  # type: ignore[attr-defined]
    settings = _settings(method, backbone, size, refine, config.seed, items, model)
    directory = RunDirectory(out)
    directory.open(settings, resume=resume, restart=restart)
    try:
        run = _Run(directory, items, backbone, method, size, refine, config, timed)
        run.execute(fitted=model is not None, pipeline=_pipeline_document(backbone, size, refine))
        return run.conclude(settings, time.perf_counter() - start)
    finally:
        directory.close()


def _create(config: LabelConfig, refine: str) -> Method:
    options: dict[str, Any] = {"refine": refine, **config.options}
    return create_method(config.method, n_classes=config.classes, random_state=config.seed, **options)


def _load_backbone(name: str | None, config: LabelConfig) -> Any:
    from .backbones import load_backbone
    from .paths import cache_dir

    return load_backbone(name, cache_dir=cache_dir(), device=config.device, precision=config.precision)


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

        self.directory = directory
        self.items = {item.key: item for item in items}
        self.backbone = backbone
        self.method = method
        self.refiner = create_refiner(refine)
        self.progress = progress
        batch_size = config.batch_size or (4 if backbone.device == "cpu" else 32)
        self.store = _open_store(backbone, size, config)
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

    def execute(self, *, fitted: bool, pipeline: dict[str, Any]) -> None:
        """Extract, fit unless fitted, predict and write; stages already done are not done again."""
        self.rows = {row.image: row for row in self.directory.finished() if row.image in self.items}
        model = self.directory.model
        if not fitted and (model / "pipeline.json").is_file():
            self.method = _with_jobs(load_method(model), self.method)
        else:
            todo = len(self.rows) < len(self.items)
            if todo:
                self.source.extract(self.progress)
            if not fitted:
                if len(self.source.failures) == len(self.items):
                    self._raise_all_failed()
                self.method.fit(self.source, progress=self.progress)
            save_method(self.method, model)
            (model / "pipeline.json").write_text(json.dumps(pipeline, indent=2, sort_keys=True) + "\n")
        self._predict()
        if not any(row.status == "labelled" for row in self.rows.values()):
            self._raise_all_failed()

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
                for image in chunk:
                    self._predict_one(image)
                    stage.update()

    def _predict_one(self, image: ImageFeatures) -> None:
        start = time.perf_counter()
        try:
            mask = self._to_mask(self.method.predict(image), image)
        except ImageReadError as error:
            self.source.failures[image.key] = error.reason
            return
        name = self.items[image.key].mask_name
        write_mask(self.directory.masks / name, mask)
        classes = np.unique(mask)
        row = SampleRow(
            image=image.key,
            mask=name,
            height=image.size[0],
            width=image.size[1],
            classes=" ".join(str(int(c)) for c in classes if c),
            coverage=float((mask > 0).mean()),
            seconds=time.perf_counter() - start,
        )
        self.rows[image.key] = row
        self.directory.append([row])

    def _to_mask(self, scores: LabelScores, image: ImageFeatures) -> np.ndarray:
        """Refine and up-sample soft scores to the (H, W) class ids of the native image."""
        values = scores.scores if scores.refined else self.refiner(scores.scores, image.read_image())
        return scores.labels[resize_scores(values, *image.size).argmax(0)]

    def conclude(self, settings: dict[str, Any], seconds: float) -> LabelResult:
        """Write the tables and pictures of a run whose masks are all there."""
        rows = list(self._all_rows())
        names = {k: f"class {k}" for k in range(1, int(getattr(self.method, "n_classes_", 0)) + 1)}
        self.directory.write_classes(names)
        with self.progress.stage("contact sheet", total=1, unit="sheet") as stage:
            self._draw_sheet(rows, names)
            stage.update()
        labelled = [row for row in rows if row.status == "labelled"]
        run = {
            "format": 1,
            "status": "complete",
            "settings": settings,
            "versions": _versions(),
            "counts": {"images": len(rows), "labelled": len(labelled), "skipped": len(rows) - len(labelled)},
            "classes": {str(k): v for k, v in names.items()},
            "seconds": {
                "total": round(seconds, 3),
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

    def _draw_sheet(self, rows: list[SampleRow], names: dict[int, str]) -> None:
        labelled = [row for row in rows if row.status == "labelled"]
        picks = np.unique(
            np.linspace(0, len(labelled) - 1, min(SHEET_IMAGES, len(labelled))).round().astype(int)
        )
        pairs = []
        for row in (labelled[i] for i in picks):
            try:
                image = read_image(self.items[row.image].path)
            except ImageReadError:
                continue  # gone since it was labelled: its mask stays, the sheet shows the others
            pairs.append((row.image, image, _read_mask(self.directory.masks / row.mask)))
        title = f"{self.method.name} · {self.backbone.name} · {len(labelled)} images · {len(names)} classes"
        contact_sheet(pairs, names, title).save(self.directory.root / "contact_sheet.png")


def _read_mask(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path))


def _with_jobs(method: Method, like: Method) -> Method:
    method.n_jobs = like.n_jobs  # type: ignore[attr-defined]
    return method


def _open_store(backbone: Any, size: int, config: LabelConfig) -> Any:
    if not config.cache:
        return None
    from .features.source import store_spec
    from .features.store import FeatureStore
    from .paths import cache_dir

    return FeatureStore(cache_dir(), store_spec(backbone, size), limit_bytes=config.cache_limit)


def _settings(
    method: Method,
    backbone: Any,
    size: int,
    refine: str,
    seed: int,
    items: Iterable[ImageItem],
    model: Path | None,
) -> dict[str, Any]:
    """Return all that the masks depend on, JSON-serialisable; a resumed run must have the same."""
    keys = hashlib.sha256("\n".join(item.key for item in items).encode()).hexdigest()
    return {
        "method": method.name,
        "method_config": method.get_config(),
        "backbone": {
            **backbone.fingerprint(),
            "origin": backbone.loaded.origin,
            "licence": backbone.loaded.licence,
            "weights_file_sha256": backbone.loaded.file_sha256,
        },
        "size": backbone.round_size(size),
        "refine": refine,
        "seed": seed,
        "images_sha256": keys,
        "model": _file_digest(model) if model else None,
    }


def _file_digest(model: Path) -> str:
    return hashlib.sha256((model / "arrays.safetensors").read_bytes()).hexdigest()


def _pipeline_document(backbone: Any, size: int, refine: str) -> dict[str, Any]:
    """Return what must be known beside the fitted method to label new images in the same way."""
    return {
        "backbone": backbone.loaded.source,
        "weights_sha256": backbone.loaded.state_sha256,
        "size": size,
        "refine": refine,
    }


def _read_saved(model: Path) -> dict[str, Any]:
    try:
        return json.loads((model / "pipeline.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{model} is not the model folder of a run (no readable pipeline.json)") from error


def _check_weights(saved: dict[str, Any], backbone: Any) -> None:
    if saved["weights_sha256"] != backbone.loaded.state_sha256:
        raise UsageError(
            f"the model was fitted with other weights than {backbone.name} has here "
            f"({saved['weights_sha256'][:12]} against {backbone.loaded.state_sha256[:12]}); "
            f"use the weights it was fitted with"
        )


def _versions() -> dict[str, str]:
    packages = ("torch", "timm", "numpy", "scikit-learn", "scipy", "pillow", "fiftyone", "pydensecrf2")
    found = {"fiftyone-pseudomask": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


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
