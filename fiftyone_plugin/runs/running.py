"""One run in progress: extract, fit, predict, refine, write; stages already done are not done again."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..common.files import write_json
from ..common.parallel import batched, parallel_map
from ..common.progress import Stage, TimedProgress
from ..common.stamps import file_stamp
from ..errors import ImageChangedError, ImageReadError, PseudoMaskError
from ..features.types import ImageFeatures
from ..images.left_out import LeftOut
from ..masks.areas import class_shares
from ..masks.files import write_mask
from ..masks.quality import confidence_map, image_quality, segment_quality
from ..masks.refine import Upsample, at_most, create_refiner, labels_or_error
from ..masks.scores import LabelScores
from ..methods.base import Method, Trainable
from .config import LabelConfig
from .estimate import layer_bytes
from .exemplars import write_exemplars
from .folder import RunDirectory
from .images import describe_images
from .model import PIPELINE_NAME, load_method, save_method
from .pictures import draw_evidence, draw_sheet
from .provenance import versions
from .result import LabelResult
from .samples import SampleRow, total_areas

__all__ = ["Run"]

PREDICT_CHUNK = 32
CONFIDENCE_SIDE = 128  # longest side of a confidence map, pixels; patches are coarser
ATTEMPTS = 3  # at an image that is being changed
RESOURCES = ("device", "batch_size", "jobs", "cache", "cache_limit")  # what results do not depend on


class Run:
    """One run in progress: its parts, and the stages in order."""

    def __init__(
        self,
        directory: RunDirectory,
        backbone: Any,
        store: Any,
        method: Method,
        size: int,
        refine: str,
        config: LabelConfig,
        progress: TimedProgress,
        left_out: LeftOut,
    ) -> None:
        from ..features.source import ImageFeatureSource

        self.config = config
        self.directory = directory
        self.left_out = left_out
        self.items = {item.key: item for item in directory.items}
        self.backbone = backbone
        self.method = method
        self.refiner = create_refiner(refine)
        self.progress = progress
        batch_size = config.batch_size or (4 if backbone.device == "cpu" else 32)
        self.store = store
        self.source = ImageFeatureSource(
            directory.items,
            backbone,
            method.inputs,
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
        self.rows = {row.image: row for row in self.directory.finished() if self._is_current(row)}
        model = self.directory.model
        if not fitted and (model / PIPELINE_NAME).is_file():
            self.method = _like(load_method(model), self.method, self.backbone.device)
        else:
            todo = len(self.rows) < len(self.items)
            if todo:
                self._extract()
            if not fitted:
                self._fit()
            save_method(self.method, model)
            # what a resumed run would load labels the images: the same bytes, interrupted or not
            self.method = _like(load_method(model), self.method, self.backbone.device)
            # last: it tells a resumed run that the model is complete
            write_json(model / PIPELINE_NAME, pipeline)
        self._predict()
        if not any(row.status == "labelled" for row in self.rows.values()):
            self._raise_all_failed()

    def _is_current(self, row: SampleRow) -> bool:
        """Tell whether the image of a finished mask is still the one that was labelled."""
        item = self.items.get(row.image)
        return item is not None and row.stamp in (
            "",
            file_stamp(item.path),
        )  # earlier versions wrote no stamp

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
            for _ in range(ATTEMPTS):
                if not (todo := self._predict_images(todo, stage)):
                    return
            for key in todo:
                self.source.failures[key] = ImageChangedError(key).reason
                stage.update()

    def _predict_images(self, keys: set[str], stage: Stage) -> set[str]:
        """Label these images; returns those that were changed meanwhile, to be labelled again."""
        again: set[str] = set()
        for chunk in batched(self.source.lazy(keys), PREDICT_CHUNK):
            self.method.prefetch(chunk)
            start = time.perf_counter()
            results: list[tuple[ImageFeatures, LabelScores]] = []
            for image in chunk:
                found = self._score(image)
                if isinstance(found, ImageReadError):
                    self._note(image, found, again, stage)
                else:
                    results.append((image, found))
            masks = self._refine(results)
            seconds = (time.perf_counter() - start) / len(chunk)
            for (image, scores), mask in zip(results, masks, strict=True):
                if isinstance(mask, ImageReadError):
                    self._note(image, mask, again, stage)
                elif self.source.changed(image):
                    again.add(image.key)
                else:
                    self._write(image, scores, mask, seconds)
                    stage.update()
        return again

    def _note(self, image: ImageFeatures, error: ImageReadError, again: set[str], stage: Stage) -> None:
        if isinstance(error, ImageChangedError):
            again.add(image.key)
        else:
            self.source.failures[image.key] = error.reason
            stage.update()

    def _score(self, image: ImageFeatures) -> LabelScores | ImageReadError:
        try:
            return self.method.predict(image)
        except ImageReadError as error:
            return error

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
            stamp=image.stamp,
        )
        self.directory.append([row])
        try:
            confidence = at_most(confidence_map(scores.scores), CONFIDENCE_SIDE)
            write_mask(self.directory.confidence / name, confidence)
            write_mask(self.directory.masks / name, mask)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            self.source.failures[image.key] = "the path of its mask is too long for this file system"
        else:
            self.rows[image.key] = row

    def conclude(self, settings: dict[str, Any], start: float) -> LabelResult:
        """Write the tables and pictures of a run whose masks are all there; it began at ``start``."""
        rows = list(self._all_rows())
        self.directory.remove_unlisted(rows)
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
            "run_id": self.directory.run_id,
            "settings": {**settings, **describe_images({row.image: row.stamp for row in rows})},
            "resources": {name: getattr(self.config, name) for name in RESOURCES},
            "versions": versions(),
            "counts": {"images": len(rows), "labelled": len(labelled), "skipped": len(rows) - len(labelled)},
            "classes": {str(k): v for k, v in names.items()},
            "areas": {str(k): share for k, share in total_areas(labelled).items()},
            "work": self.work,
            "left_out": self.left_out.to_json(),
            "images_root": next(iter(self.items.values())).root,
            "seconds": {
                "total": round(time.perf_counter() - start, 3),
                **{k: round(v, 3) for k, v in self.progress.seconds.items()},
            },
        }
        self.directory.write_samples(rows)
        self.directory.write_run(run)
        self.directory.finish()
        return LabelResult(self.directory.final_root, rows, names, run, self.left_out)

    def _all_rows(self) -> Iterator[SampleRow]:
        for key, item in self.items.items():
            if key in self.rows:
                yield self.rows[key]
            else:
                reason = self.source.failures.get(key, "not processed")
                yield SampleRow(image=key, status="skipped", error=reason, stamp=file_stamp(item.path))


def _qualities(scores: LabelScores, classes: str) -> str:
    """Return the quality of each class of a mask; 0 for one that won nowhere before the refinement."""
    known = dict(zip(scores.labels.tolist(), segment_quality(scores.scores, scores.agreement), strict=True))
    return " ".join(f"{np.nan_to_num(known[int(id_)]):.4f}" for id_ in classes.split())


def _like(method: Method, other: Method, device: str) -> Method:
    method.n_jobs = other.n_jobs
    if isinstance(method, Trainable):
        method.device = device
    return method
