"""COCO's files: instances, results, panoptic, stuff; converted in workers and streamed to disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import UsageError
from ..masks.segments import find_segments
from .base import Converted, ExportOptions, Format, Sample
from .categories import Categories
from .coco import coco_annotations, coco_categories, coco_results
from .panoptic import panoptic_segments
from .staging import JsonDocument, writing

__all__ = ["FORMATS", "read_like"]


def _body(entry: dict[str, Any]) -> str:
    """Return an entry as JSON text without its opening brace; the writer puts ids in front."""
    return json.dumps(entry, separators=(",", ":"), allow_nan=False)[1:]


def _image(sample: Sample) -> str:
    height, width = sample.labels.shape
    return _body({"file_name": sample.file_name, "width": width, "height": height, **sample.attributes})


def _convert(sample: Sample, entries: list[dict[str, Any]]) -> Converted:
    item = sample.item
    bodies = [_body(entry) for entry in entries]
    return Converted(item.key, sample.split, item.stem, sample.low, _image(sample), bodies, len(bodies))


def convert_instances(sample: Sample, folder: Path) -> Converted:
    """Make an annotation of every instance."""
    options = sample.options
    return _convert(
        sample,
        coco_annotations(
            sample.segments(stuff_whole=False),
            polygons=options.polygons,
            tolerance=options.tolerance,
            attributes=sample.attributes,
        ),
    )


def convert_results(sample: Sample, folder: Path) -> Converted:
    """Make a result of every instance; its score is the mask's quality, 1 where that is unknown."""
    quality = sample.item.known_quality
    score = 1.0 if quality is None else quality
    entries = coco_results(sample.segments(stuff_whole=False), score)
    if sample.options.like:
        ids = read_like(sample.options.like).categories
        by_name = {item.id: ids[item.name] for item in sample.categories.items}
        entries = [{**entry, "category_id": by_name[entry["category_id"]]} for entry in entries]
    return _convert(sample, entries)


def convert_stuff(sample: Sample, folder: Path) -> Converted:
    """Make an annotation of every class in the image."""
    segments = find_segments(sample.labels, whole=None)
    return _convert(sample, coco_annotations(segments, attributes=sample.attributes))


def convert_panoptic(sample: Sample, folder: Path) -> Converted:
    """Write the PNG and describe its segments: components of things, one segment for each kind of stuff."""
    item = sample.item
    colours, info = panoptic_segments(sample.segments(stuff_whole=True), sample.attributes)
    name = f"{item.stem}.png"
    path = folder / "annotations" / _document("panoptic", sample.split) / name
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colours).save(path)
    entry = _body({"file_name": name, "segments_info": info})
    return Converted(item.key, sample.split, item.stem, sample.low, _image(sample), [entry], len(info))


def _document(kind: str, split: str) -> str:
    return f"{kind}_{split}" if split else kind


class CocoWriter:
    """Streams images and annotations to ``annotations/<kind>[_<split>].json``, with ids from 1."""

    kind = "instances"

    def __init__(
        self, folder: Path, categories: Categories, options: ExportOptions, info: dict[str, Any]
    ) -> None:
        head = {"info": info, "licenses": [], "categories": coco_categories(categories)}
        self.documents = {
            split: JsonDocument(
                folder / "annotations" / f"{_document(self.kind, split)}.json",
                head,
                ("images", "annotations"),
            )
            for split in options.splits or ("",)
        }
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

    kind = "stuff"


class PanopticWriter(CocoWriter):
    """The same, called ``panoptic``: an annotation an image, without an id of its own."""

    kind = "panoptic"

    def _ids(self) -> str:
        return f'"image_id":{self._images}'


class ResultsWriter:
    """Streams ``results[_<split>].json``, a list, and ``image_info[_<split>].json`` with the images' ids.

    With ``like``, ids are those of that file, and there is no ``image_info``.
    """

    def __init__(
        self, folder: Path, categories: Categories, options: ExportOptions, info: dict[str, Any]
    ) -> None:
        self._ids = read_like(options.like).images if options.like else None
        self._results: dict[str, Any] = {}
        self._empty: dict[str, bool] = {}
        self._info: CocoWriter | None = None
        if self._ids is None:
            self._info = _ImageInfoWriter(folder, categories, options, info)
        for split in options.splits or ("",):
            path = folder / f"{_document('results', split)}.json"
            with writing(path):
                self._results[split] = path.open("w", encoding="utf-8")
            self._empty[split] = True
        self._count = 0

    def add(self, converted: Converted) -> None:
        """Write the results of an image."""
        self._count += 1
        image_id = self._ids[converted.sample_key] if self._ids is not None else self._count
        file = self._results[converted.split]
        if self._info:
            self._info.add(Converted(converted.sample_key, converted.split, "", image=converted.image))
        with writing(Path(file.name)):
            for body in converted.entries:
                start = "[\n" if self._empty[converted.split] else ",\n"
                file.write(f'{start}{{"image_id":{image_id},{body}')
                self._empty[converted.split] = False

    def finish(self) -> None:
        """Close the files."""
        for split, file in self._results.items():
            with writing(Path(file.name)):
                file.write("[]\n" if self._empty[split] else "\n]\n")
                file.close()
        if self._info:
            self._info.finish()

    def abandon(self) -> None:
        """Close the files of a failed export."""
        for file in self._results.values():
            file.close()
        if self._info:
            self._info.abandon()


class _ImageInfoWriter(CocoWriter):
    kind = "image_info"


class _Like:
    """Ids of a COCO file, by file name and by category name."""

    def __init__(self, path: str) -> None:
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            self.images = {entry["file_name"]: int(entry["id"]) for entry in document["images"]}
            self.categories = {entry["name"]: int(entry["id"]) for entry in document["categories"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is not a COCO file with images and categories ({error!r})") from error


_LIKE: dict[str, _Like] = {}


def read_like(path: str) -> _Like:
    """Return the ids in a COCO file; read once in a process.

    Raises:
        UsageError: it is not a COCO file.
    """
    if path not in _LIKE:
        _LIKE.clear()
        _LIKE[path] = _Like(path)
    return _LIKE[path]


def _check_results(categories: Categories, options: ExportOptions) -> None:
    if not options.like:
        return
    known = read_like(options.like).categories
    missing = [item.name for item in categories.items if item.name not in known]
    if missing:
        raise UsageError(
            f"{options.like} has no category {missing[0]!r}; export the classes that it has, or rename them"
        )


FORMATS = (
    Format(
        "coco-instances",
        "COCO instances: an annotation for every connected component or given instance",
        "images",
        convert_instances,
        CocoWriter,
    ),
    Format(
        "coco-panoptic",
        "COCO panoptic: PNG of segment ids, things by component, stuff by class",
        "images",
        convert_panoptic,
        PanopticWriter,
    ),
    Format(
        "coco-stuff", "COCO stuff: an RLE for every class in an image", "images", convert_stuff, StuffWriter
    ),
    Format(
        "coco-results",
        "COCO results: a list with scores, for loadRes; no images",
        "images",
        convert_results,
        ResultsWriter,
        _check_results,
        places_images=False,
    ),
)
