"""An export from start to end: read, clean, convert in worker processes, write in order, move into place."""

from __future__ import annotations

import json
import os
import posixpath
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .._version import DISTRIBUTION, __version__
from ..common.files import write_json
from ..common.parallel import usable_cores
from ..common.progress import NullProgress, Progress, annotate
from ..common.remote import url_of
from ..common.skipped import Skipped
from ..engines.base import Engine, Lost, Worker
from ..engines.registry import engine_for_files
from ..errors import ImageReadError, PseudoMaskError, UsageError
from ..images.reading import image_size
from ..masks.cleaning import remove_small
from ..masks.files import mask_ids, read_mask
from ..masks.rules import FIFTYONE, MaskRules
from .base import Converted, ExportItem, ExportOptions, ExportSource, Sample, Writer
from .categories import Categories, default_names
from .choosing import select, unsure_pixels
from .coco import coco_categories
from .media import fitting_suffix, place_image
from .registry import get_format
from .staging import RECORD, WriteError, export_folder

__all__ = ["ExportResult", "export"]

GROUP = 8  # images a worker converts in one go
ALONE = 100  # fewer images than this are converted before workers would have started


@dataclass
class ExportResult:
    """What an export wrote.

    Attributes:
        out: its folder.
        format: name of the format.
        images: images exported.
        annotations: segments or label lines in them.
        categories: category id -> name.
        splits: images by split; empty without splits.
        marked: images whose mask is marked as of low quality.
        skipped: images left out, with reasons.
        seconds: wall-clock time.
    """

    out: Path
    format: str
    images: int = 0
    annotations: int = 0
    categories: dict[int, str] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    marked: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failed(self) -> list[Skipped]:
        """Images left out although nobody asked for that."""
        return [entry for entry in self.skipped if not entry.expected]


def _read(
    source: str | np.ndarray, rules: MaskRules, what: str = "mask", size: tuple[int, int] | None = None
) -> np.ndarray:
    """Return the (H, W) ids of a file or of a mask from a database, of the (height, width) of its image."""
    mask = read_mask(source, rules) if isinstance(source, str) else mask_ids(source, rules, what)
    if size is not None and mask.shape != size:
        name = source if isinstance(source, str) else what
        found = f"{mask.shape[1]}x{mask.shape[0]}"
        raise ImageReadError(name, f"is {found}, its image {size[1]}x{size[0]} (width x height)")
    return mask


@dataclass(frozen=True)
class _Conversion:
    """To convert items, see :class:`~..engines.base.Work`."""

    format: str
    folder: Path
    categories: Categories
    options: ExportOptions
    rules: MaskRules

    def open(self) -> Worker[tuple[ExportItem, str, bool], Converted | Skipped]:
        if not self.folder.is_dir():
            raise UsageError(
                f"does not see {self.folder}: --out has to be on a disk that all machines share, under "
                "the same path"
            )
        return partial(map, self._convert)

    def _convert(self, entry: tuple[ExportItem, str, bool]) -> Converted | Skipped:
        item, split, low = entry
        kind, options, instances = get_format(self.format), self.options, item.instances
        try:
            size = image_size(item.image)
            labels = self.categories.encode(_read(item.mask, self.rules, size=size))
            if instances is not None:
                instances = _read(instances, FIFTYONE, "map of instances", size)
            labels = remove_small(labels, options.min_area, merge=options.small == "merge")
            if kind.places_images and options.images != "reference":
                suffix = fitting_suffix(item.image, posixpath.splitext(item.key)[1])
                *folders, name = item.stem.split("/")
                item = replace(item, stem="/".join([*map(kind.folder_name, folders), name]), suffix=suffix)
                folder = self.folder / kind.images_folder.format(split=kind.folder_name(split or "train"))
                place_image(item.image, folder / item.placed, options.images)
            unsure = unsure_pixels(item, labels.shape, options.min_confidence)
            if unsure is not None:
                labels[unsure] = 0
            sample = Sample(item, split, labels, instances, low, self.categories, options, unsure)
            return kind.convert(sample, self.folder)
        except WriteError:
            raise
        except PseudoMaskError as error:
            return Skipped(item.key, str(error))


def export(
    source: Any,
    field: str | None = None,
    *,
    out: str | Path,
    format: str = "coco-instances",
    classes: Iterable[str | int] | None = None,
    ignore: Iterable[int] = (),
    stuff: Iterable[str | int] = (),
    supercategories: dict[str, str] | None = None,
    instances_field: str | None = None,
    quality_field: str | None = None,
    overwrite: bool = False,
    jobs: int = 0,
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    cpus_per_worker: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> ExportResult:
    """Export masks in a format that other tools read.

    Everything is written to a temporary folder beside ``out`` and moved there at the end. The same source and
    choices give the same files, whatever the number of processes.

    Args:
        source: FiftyOne dataset or view, or a folder, here or in a store: the output of ``label``, or images/
            and masks/; or an :class:`~fiftyone_plugin.formats.base.ExportSource`.
        field: with a dataset or view, its Segmentation field; ``None`` if there is only one.
        out: folder of the export, here or in a store; must not exist, or be empty; made if absent.
        format: ``coco-instances``, ``coco-results``, ``coco-panoptic``, ``coco-stuff``, ``voc``, ``masks``,
            ``yolo``, ``ultralytics-semantic``, ``mmsegmentation``, ``huggingface``, ``cvat`` or
            ``label-studio``.
        classes: names or mask ids to export; ``None`` for all. Other classes become unlabelled.
        ignore: mask ids that mean unlabelled, besides 0.
        stuff: names or ids of classes that are not countable: one panoptic segment each in an image.
        supercategories: class name -> supercategory, before those of the source.
        instances_field: Segmentation field with instance ids, instead of connected components.
        quality_field: field of the masks' quality; ``None`` for ``<field>_quality`` if it exists.
        overwrite: replace an earlier export in ``out``.
        jobs: processes; 0 for all cores.
        engine: ``local``, or ``ray`` for the machines of a cluster, which share the disk of ``out``.
        address: of the cluster, ``HOST:PORT`` or ``auto``; ``None`` for one that ends with the export.
        workers: worker processes of the engine, ``None`` for as many as there is room for.
        cpus_per_worker: cores of each, ``None`` for one.
        progress: where stages report to.
        options: fields of :class:`~fiftyone_plugin.formats.base.ExportOptions`, e.g. ``min_area=100``,
            ``splits=("train", "val")``, ``val=0.2``, ``images="symlink"``, ``min_confidence=0.3``.

    Returns:
        What was written, with the images left out and why.

    Raises:
        UsageError: impossible choices, or ``out`` is taken.
        WriteError: ``out`` cannot be written, e.g. the disk is full; nothing is left behind.
        PseudoMaskError: not one image could be exported.

    Example:
        >>> from fiftyone_plugin import export
        >>> result = export("labels", out="coco", min_area=64)  # doctest: +SKIP
        >>> result.images, result.annotations  # doctest: +SKIP
        (120, 431)
    """
    begin = time.perf_counter()
    try:
        chosen = ExportOptions(**{**options, "splits": tuple(options.get("splits", ()))})
    except TypeError as error:
        raise UsageError(f"unknown option of an export: {error}") from error
    source = _opened(source, field, instances_field, quality_field)
    progress = progress or NullProgress()
    kind = get_format(format)
    jobs = 1 if source.total < ALONE else jobs if jobs > 0 else usable_cores()
    skipped = list(source.skipped)
    with (
        engine_for_files(engine, address, workers, cpus_per_worker, jobs) as place,
        export_folder(out, overwrite=overwrite, sources=source.folders) as folder,
    ):
        names = source.names if source.names is not None else _scan(source, place, progress)
        categories = Categories.build(
            names,
            classes=classes,
            ignore=[*ignore, *source.hidden],
            supercategories={**source.supercategories, **(supercategories or {})},
            stuff=stuff,
        )
        kind.check(categories, chosen)
        result = ExportResult(folder.out, kind.name, splits=dict.fromkeys(chosen.splits, 0), skipped=skipped)
        result.categories = {item.id: item.name for item in categories.items}
        job = _Conversion(kind.name, folder.path, categories, chosen, source.rules)
        _write(source, job, kind, result, place, progress)
        if not result.images:
            raise PseudoMaskError(
                f"nothing was exported: none of {source.total} images of {source.name} is left. "
                f"First: {'; '.join(map(str, result.skipped[:5]))}"
            )
        write_json(folder.path / RECORD, _describe(source, result, job), sort_keys=False)
        folder.commit()
    result.seconds = time.perf_counter() - begin
    return result


def _opened(source: Any, field: str | None, instances: str | None, quality: str | None) -> ExportSource:
    if isinstance(source, (str, os.PathLike, ExportSource)) or url_of(source) is not None:
        from .sources import folder_source

        if field or instances or quality:
            raise UsageError("fields belong to a FiftyOne dataset; a folder has masks/ and instances/")
        return source if isinstance(source, ExportSource) else folder_source(source)
    from .fiftyone_source import view_source

    return view_source(source, field, instances_field=instances, quality_field=quality)


def _write(
    source: ExportSource,
    job: _Conversion,
    kind: type[Writer],
    result: ExportResult,
    engine: Engine,
    progress: Progress,
) -> None:
    info = {"description": f"{source.name}, exported by {DISTRIBUTION}", "version": __version__}
    writer = kind(job.folder, job.categories, job.options, info)
    try:
        with progress.stage("export", total=source.total) as stage:
            wanted = select(source, job.options, result.skipped)
            for converted in engine.gather(job, wanted, GROUP):
                annotate(stage, engine.describe())
                if isinstance(converted, Lost):
                    converted = Skipped(converted.item[0].key, converted.reason)
                if isinstance(converted, Skipped):
                    result.skipped.append(converted)
                else:
                    writer.add(converted)
                    result.images += 1
                    result.annotations += converted.count
                    result.marked += converted.low
                    if converted.split:
                        result.splits[converted.split] += 1
                stage.update()
        writer.finish()
    except BaseException:
        writer.abandon()
        raise


class _Scan:
    """To find the ids in the masks of items, see :class:`~..engines.base.Work`."""

    def open(self) -> Worker[ExportItem, set[int]]:
        return partial(map, _ids_of)


def _ids_of(item: ExportItem) -> set[int]:
    try:
        return set(np.unique(_read(item.mask, FIFTYONE)).tolist())
    except ImageReadError:  # listed where it is converted
        return set()


def _scan(source: ExportSource, engine: Engine, progress: Progress) -> dict[int, str]:
    """Find the ids that occur and name them."""
    ids: set[int] = set()
    with progress.stage("find classes", total=source.total) as stage:
        for found in engine.gather(_Scan(), source.items(), GROUP):
            ids |= set() if isinstance(found, Lost) else found
            stage.update()
    return default_names(ids)


def _describe(source: ExportSource, result: ExportResult, job: _Conversion) -> dict[str, object]:
    """Return the export's record: choices, counts, what was left out, and where the masks come from."""
    return {
        "format": result.format,
        "made_by": f"{DISTRIBUTION} {__version__}",
        "source": source.name,
        "options": asdict(job.options),
        "categories": coco_categories(job.categories),
        "counts": {
            "images": result.images,
            "annotations": result.annotations,
            "marked": result.marked,
            "skipped": len(result.skipped),
            "splits": result.splits,
        },
        "skipped": [{"image": entry.key, "reason": entry.reason} for entry in result.skipped],
        "provenance": json.loads(json.dumps(source.provenance, default=str)),
    }
