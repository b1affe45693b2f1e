"""COCO's files: instances, results, stuff, panoptic; converted in workers and streamed to disk.

Sources: https://cocodataset.org/#format-data and https://cocodataset.org/#format-results; the meaning
of RLE and polygons is that of pycocotools. ``area`` is the number of pixels, ``bbox`` the tight box. A
panoptic PNG holds segment ids as R + 256 G + 65536 B, 0 is void.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..errors import UsageError
from ..masks.files import packed_colours
from ..masks.polygons import segment_polygons
from ..masks.segments import Segments, find_segments, segment_rles
from .base import Converted, ExportOptions, Sample, Writer
from .categories import Categories
from .staging import JsonDocument, writing

__all__ = [
    "coco_annotations",
    "coco_categories",
    "coco_results",
    "id_to_rgb",
    "panoptic_segments",
    "read_like",
    "rgb_to_id",
]

LISTS = ("images", "annotations")
Entry = dict[str, object]  # one of COCO's JSON objects


# ---------------------------------------------------------------------- from segments to entries


def coco_categories(categories: Categories) -> list[Entry]:
    """Return the category list; ``class_id`` is the id in masks, ``isthing`` is 1 for countable ones."""
    return [
        {
            "id": item.id,
            "name": item.name,
            "supercategory": item.supercategory,
            "isthing": int(item.is_thing),
            "class_id": item.class_id,
        }
        for item in categories.items
    ]


def coco_annotations(
    segments: Segments, *, polygons: bool = False, tolerance: float = 0, attributes: Entry | None = None
) -> list[Entry]:
    """Return an annotation for every segment, without ``id`` and ``image_id``.

    Args:
        segments: segments labelled with category ids.
        polygons: write polygons instead of compressed RLE; area and box stay those of the pixels.
        tolerance: of the polygons, see :func:`~fiftyone_plugin.masks.polygons.mask_polygons`.
        attributes: further members of each annotation, e.g. ``{"quality": 0.8}``.
    """
    shapes: Sequence[object]
    if polygons:
        outlines = segment_polygons(segments, tolerance)
        shapes = [[[_number(value) for value in ring.ravel()] for ring in rings] for rings in outlines]
    else:
        shapes = segment_rles(segments)
    columns = (segments.label, segments.area, segments.box, segments.instance)
    return [
        {
            "category_id": label,
            "segmentation": shape,
            "area": area,
            "bbox": box,
            "iscrowd": 0,
            **({"instance": instance} if instance else {}),
            **(attributes or {}),
        }
        for shape, label, area, box, instance in zip(shapes, *(c.tolist() for c in columns), strict=True)
    ]


def _number(value: float) -> float | int:
    """Whole numbers without ``.0``, others to a hundredth of a pixel: files get a third smaller."""
    return int(value) if value == int(value) else round(float(value), 2)


def coco_results(segments: Segments, score: float) -> list[Entry]:
    """Return a result for every segment, without ``image_id``; ``loadRes`` adds area and box itself.

    Segments are labelled with category ids; the score in [0, 1] is that of all of them.
    """
    labels, boxes = segments.label.tolist(), segments.box.tolist()
    return [
        {"category_id": label, "segmentation": rle, "bbox": box, "score": score}
        for label, rle, box in zip(labels, segment_rles(segments), boxes, strict=True)
    ]


def id_to_rgb(ids: np.ndarray) -> np.ndarray:
    """Turn (H, W) segment ids within 0..16,777,215 into (H, W, 3) uint8 colours."""
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)


def rgb_to_id(colours: np.ndarray) -> np.ndarray:
    """Turn (H, W, 3 or 4) uint8 colours into (H, W) uint32 segment ids; an alpha channel does not count."""
    return packed_colours(colours[..., 2::-1])


def panoptic_segments(segments: Segments, attributes: Entry | None = None) -> tuple[np.ndarray, list[Entry]]:
    """Return the (H, W, 3) uint8 PNG and the ``segments_info`` of an image.

    Ids are 1, 2, ... in each image, in the order of the segments.
    """
    columns = (segments.label.tolist(), segments.area.tolist(), segments.box.tolist())
    info = [
        {"id": index, "category_id": label, "area": area, "bbox": box, "iscrowd": 0, **(attributes or {})}
        for index, (label, area, box) in enumerate(zip(*columns, strict=True), 1)
    ]
    return id_to_rgb(segments.to_map()), info


# ---------------------------------------------------------------------- from entries to text


def _body(entry: Entry) -> str:
    """Return an entry as JSON text without its opening brace; the writer puts ids in front."""
    return json.dumps(entry, separators=(",", ":"), allow_nan=False)[1:]


def _converted(sample: Sample, entries: list[Entry], count: int | None = None) -> Converted:
    height, width = sample.labels.shape
    image = {"file_name": sample.file_name, "width": width, "height": height, **sample.attributes}
    return sample.converted(
        len(entries) if count is None else count, _body(image), [_body(entry) for entry in entries]
    )


def _document(kind: str, split: str) -> str:
    return f"{kind}_{split}" if split else kind


# ---------------------------------------------------------------------- the formats


class CocoWriter(Writer):
    """Streams images and annotations to ``annotations/<kind>[_<split>].json``, with ids from 1."""

    name = "coco-instances"
    description = "COCO instances: an annotation for every connected component or given instance"
    kind = "instances"

    @classmethod
    def convert(cls, sample: Sample, folder: Path) -> Converted:
        """Make an annotation of every instance."""
        options, segments = sample.options, sample.segments(stuff_whole=False)
        entries = coco_annotations(
            segments, polygons=options.polygons, tolerance=options.tolerance, attributes=sample.attributes
        )
        return _converted(sample, entries)

    def start(self) -> None:
        """Open the files."""
        head = {"info": self.info, "licenses": [], "categories": coco_categories(self.categories)}
        folder, splits = self.folder / "annotations", self.options.splits or ("",)
        paths = {split: folder / f"{_document(self.kind, split)}.json" for split in splits}
        self.documents = {split: JsonDocument(path, head, LISTS) for split, path in paths.items()}
        self._images = self._annotations = 0

    def add(self, converted: Converted) -> None:
        """Write an image and its annotations."""
        document = self.documents[converted.split]
        self._images += 1
        document.add("images", f'{{"id":{self._images},{converted.image}')
        for body in converted.entries:
            self._annotations += 1
            document.add("annotations", f"{{{self._ids()},{body}")

    def _ids(self) -> str:
        return f'"id":{self._annotations},"image_id":{self._images}'

    def finish(self) -> None:
        """Close the files."""
        for document in self.documents.values():
            document.close()

    def abandon(self) -> None:
        """Close the files of a failed export."""
        for document in self.documents.values():
            document.abandon()


class StuffWriter(CocoWriter):
    """The same, called ``stuff``."""

    name = "coco-stuff"
    description = "COCO stuff: an RLE for every class in an image"
    kind = "stuff"

    @classmethod
    def convert(cls, sample: Sample, folder: Path) -> Converted:
        """Make an annotation of every class in the image."""
        segments = find_segments(sample.labels, whole=None)
        return _converted(sample, coco_annotations(segments, attributes=sample.attributes))


class PanopticWriter(CocoWriter):
    """The same, called ``panoptic``: an annotation an image, without an id of its own."""

    name = "coco-panoptic"
    description = "COCO panoptic: PNG of segment ids, things by component, stuff by class"
    kind = "panoptic"

    @classmethod
    def convert(cls, sample: Sample, folder: Path) -> Converted:
        """Write the PNG and describe its segments: components of things, one for each kind of stuff."""
        colours, info = panoptic_segments(sample.segments(stuff_whole=True), sample.attributes)
        name = f"{sample.item.stem}.png"
        path = folder / "annotations" / _document(cls.kind, sample.split) / name
        with writing(path, make_folder=True):
            Image.fromarray(colours).save(path)
        return _converted(sample, [{"file_name": name, "segments_info": info}], len(info))

    def _ids(self) -> str:
        return f'"image_id":{self._images}'


class _ImageInfoWriter(CocoWriter):
    kind = "image_info"


class ResultsWriter(Writer):
    """Streams ``results[_<split>].json``, a list, and ``image_info[_<split>].json`` with the images' ids.

    With ``like``, ids are those of that file, and there is no ``image_info``.
    """

    name = "coco-results"
    description = "COCO results: a list with scores, for loadRes; no images"
    places_images = False

    @classmethod
    def check(cls, categories: Categories, options: ExportOptions) -> None:
        known = read_like(options.like).categories if options.like else None
        missing = [item.name for item in categories.items if known is not None and item.name not in known]
        if missing:
            raise UsageError(
                f"{options.like} has no category {missing[0]!r}; export the classes that it has, or rename "
                "them"
            )

    @classmethod
    def convert(cls, sample: Sample, folder: Path) -> Converted:
        """Make a result of every instance; its score is the mask's quality, 1 where that is unknown."""
        quality = sample.item.known_quality
        entries = coco_results(sample.segments(stuff_whole=False), 1.0 if quality is None else quality)
        if sample.options.like:
            ids = read_like(sample.options.like).categories
            by_id: dict[object, int] = {item.id: ids[item.name] for item in sample.categories.items}
            entries = [{**entry, "category_id": by_id[entry["category_id"]]} for entry in entries]
        return _converted(sample, entries)

    def start(self) -> None:
        """Open the files."""
        like, splits = self.options.like, self.options.splits or ("",)
        self._ids = read_like(like).images if like else None
        self._info = None if like else _ImageInfoWriter(self.folder, self.categories, self.options, self.info)
        self._empty = {f"{_document('results', split)}.json": True for split in splits}
        for name in self._empty:
            self.open(name)
        self._count = 0

    def add(self, converted: Converted) -> None:
        """Write the results of an image."""
        self._count += 1
        image_id = self._ids[converted.sample_key] if self._ids is not None else self._count
        if self._info:
            self._info.add(Converted(converted.sample_key, converted.split, "", image=converted.image))
        name = f"{_document('results', converted.split)}.json"
        for body in converted.entries:
            self.text(name, f'{"[" if self._empty[name] else ","}\n{{"image_id":{image_id},{body}')
            self._empty[name] = False

    def finish(self) -> None:
        """Close the files."""
        for name, empty in self._empty.items():
            self.text(name, "[]\n" if empty else "\n]\n")
        super().finish()
        if self._info:
            self._info.finish()

    def abandon(self) -> None:
        """Close the files of a failed export."""
        super().abandon()
        if self._info:
            self._info.abandon()


class Like(NamedTuple):
    """Ids of a COCO file, by file name and by category name."""

    images: dict[str, int]
    categories: dict[str, int]


@lru_cache(maxsize=1)
def read_like(path: str) -> Like:
    """Return the ids in a COCO file; read once in a process.

    Raises:
        UsageError: it is not a COCO file.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        return Like(
            {entry["file_name"]: int(entry["id"]) for entry in document["images"]},
            {entry["name"]: int(entry["id"]) for entry in document["categories"]},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a COCO file with images and categories ({error!r})") from error
