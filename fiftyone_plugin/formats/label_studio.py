"""Label Studio: brush masks as tasks to import, with the labelling interface they need, and back.

Source: ``label_studio_sdk.converter.brush`` and the format's own description,
https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack: 32 bits of length, 5 of word size less 1,
four times 4 of a size less 1; then runs (1, which of the sizes, length less 1, a value) and literal values
(0, which, length less 1, values). The values are the image's, RGBA, row by row; the mask is its alpha.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np

from .._version import DISTRIBUTION, __version__
from ..common.skipped import Skipped
from ..common.text import short_repr
from ..common.untrusted import read_json, read_text
from ..errors import ImageReadError, UsageError
from ..images.palette import hex_color
from ..images.reading import MAX_PIXELS
from .base import Converted, ExportOptions, Sample, Writer
from .categories import Categories

__all__ = [
    "LabelStudioTasks",
    "LabelStudioWriter",
    "decode_rle",
    "encode_rle",
    "is_label_studio",
    "read_label_studio",
]

TASKS, CONFIG = "tasks.json", "label_config.xml"
SIZES = np.array([3, 4, 8, 16])  # bits of a length
LONGEST = 1 << 16
SERVED = "/data/local-files/?d="
MAX_BYTES = 16 << 30  # of a file; it has to fit into memory besides
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")


def encode_rle(mask: np.ndarray) -> list[int]:
    """Return the bytes of an (H, W) bool mask, 255 in all four channels where it is true."""
    flat = mask.ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    lengths = np.diff(ends, prepend=0) * 4
    parts = -(-lengths // LONGEST)
    values = flat[ends - 1].repeat(parts) * 255
    chunks = np.full(parts.sum(), LONGEST)
    chunks[parts.cumsum() - 1] = lengths - (parts - 1) * LONGEST
    which = np.searchsorted([8, 16, 256], chunks)
    size = SIZES[which]
    tokens = (((4 | which) << size | (chunks - 1)) << 8) | values
    widths = 11 + size
    places = widths[:, None] - 1 - np.arange(27)
    bits = (tokens[:, None] >> np.maximum(places, 0)) & 1
    head = f"{flat.size * 4:032b}" + f"{7:05b}" + "".join(f"{s - 1:04b}" for s in SIZES.tolist())
    stream = np.concatenate([np.array(list(head), np.uint8), bits[places >= 0].astype(np.uint8)])
    return list(np.packbits(stream).tolist())


def decode_rle(data: object, height: int, width: int) -> np.ndarray:
    """Return the (H, W) bool mask of bytes that Label Studio, or :func:`encode_rle`, has made.

    Raises:
        UsageError: no such bytes, cut short, or of an image of another size.
    """
    try:
        raw = np.array(data, np.uint8) if isinstance(data, list) else None
    except (ValueError, OverflowError, TypeError):
        raw = None
    if raw is None or raw.ndim != 1:
        raise UsageError("its rle is no list of bytes")
    reader = _Bits(np.unpackbits(raw))
    total, word = reader.number(32), reader.number(5) + 1
    sizes = [reader.number(4) + 1 for _ in range(4)]
    if total != height * width * 4:
        raise UsageError(f"its rle is not of an image of {width}x{height}")
    values = np.zeros(total, bool)
    at = 0
    while at < total:
        run = reader.number(1)
        end = at + 1 + reader.number(sizes[reader.number(2)])
        values[at:end] = reader.number(word) > 0 if run else reader.words(min(end, total) - at, word)
        at = end
    return values.reshape(height, width, 4)[:, :, 3]


class _Bits:
    """Numbers of some bits each, from the front."""

    def __init__(self, bits: np.ndarray) -> None:
        self._bits, self._text, self._at = bits, (bits + ord("0")).tobytes(), 0

    def _take(self, count: int) -> slice:
        part = slice(self._at, self._at + count)
        if part.stop > len(self._text):
            raise UsageError("its rle is cut short")
        self._at = part.stop
        return part

    def number(self, bits: int) -> int:
        return int(self._text[self._take(bits)], 2)

    def words(self, count: int, bits: int) -> np.ndarray:
        """Tell which of the next words are not 0."""
        return np.asarray(self._bits[self._take(count * bits)].reshape(count, bits).any(1))


# ---------------------------------------------------------------------- writing


class LabelStudioWriter(Writer):
    """``tasks.json``, a list that grows task by task, and ``label_config.xml``."""

    name = "label-studio"
    description = "Label Studio: brush masks as tasks.json, label_config.xml and the images"

    @classmethod
    def check(cls, categories: Categories, options: ExportOptions) -> None:
        """Refuse images that stay where they are."""
        if options.images == "reference":
            raise UsageError("Label Studio serves images of one folder: copy or symlink them")

    @classmethod
    def convert(cls, sample: Sample, folder: Path) -> Converted:
        """Return the image's task: a brush mask for every class in it, as a prediction to correct."""
        height, width = sample.labels.shape
        names = {item.id: item.name for item in sample.categories.items}
        results = []
        for label in np.unique(sample.labels[sample.labels > 0]).tolist():
            digest = hashlib.sha256(f"{label}:{sample.item.key}".encode("utf-8", "replace")).hexdigest()
            rle = encode_rle(sample.labels == label)
            results.append(
                {
                    "id": digest[:10],
                    "type": "brushlabels",
                    "from_name": "tag",
                    "to_name": "image",
                    "original_width": width,
                    "original_height": height,
                    "image_rotation": 0,
                    "value": {"format": "rle", "rle": rle, "brushlabels": [names[label]]},
                }
            )
        prediction: dict[str, object] = {"model_version": f"{DISTRIBUTION} {__version__}", "result": results}
        if sample.item.known_quality is not None:
            prediction["score"] = sample.item.known_quality
        data = {"image": SERVED + quote(f"images/{sample.file_name}", errors="surrogateescape")}
        if sample.split:
            data["split"] = sample.split
        return sample.converted(
            len(results), image=json.dumps({"data": data, "predictions": [prediction]}, separators=(",", ":"))
        )

    def start(self) -> None:
        """Write the labelling interface: a brush for every class, with the id that it has in masks."""
        labels = "\n".join(
            f"    <Label value={quoteattr(item.name)} background={quoteattr(hex_color(item.id))} "
            f'category="{item.class_id}"/>'
            for item in self.categories.items
        )
        self.text(
            CONFIG,
            '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
            f'  <BrushLabels name="tag" toName="image">\n{labels}\n  </BrushLabels>\n</View>\n',
        )
        self.text(TASKS, "[")
        self._separator = "\n"

    def add(self, converted: Converted) -> None:
        """Add a task."""
        super().add(converted)
        self.text(TASKS, self._separator + converted.image)
        self._separator = ",\n"

    def finish(self) -> None:
        """End the list."""
        self.text(TASKS, "\n]\n")
        super().finish()


# ---------------------------------------------------------------------- reading


@dataclass
class LabelStudioTasks:
    """Tasks with brush masks.

    Attributes:
        results: name of an image -> the results of its last annotation, or prediction.
        names: mask id -> name of the label.
        lost: what is in no mask, with reasons; grows while masks are drawn.
    """

    results: dict[str, list[object]]
    names: dict[int, str]
    lost: list[Skipped] = field(default_factory=list)

    def draw(self, name: str) -> np.ndarray:
        """Return the (H, W) mask ids of an image, later brushes over earlier ones.

        Raises:
            ImageReadError: no brush mask in it can be read.
        """
        ids = {label: i for i, label in self.names.items()}
        mask: np.ndarray | None = None
        for result in self.results[name]:
            try:
                label, drawn = _brush(result)
            except UsageError as error:
                self.lost.append(Skipped(name, f"result {short_repr(_get(result, 'id'))}: {error}"))
                continue
            mask = np.zeros(drawn.shape, np.uint16) if mask is None else mask
            if drawn.shape == mask.shape:
                mask[drawn] = ids[label]
            else:
                self.lost.append(Skipped(name, "a brush mask of another size than the first"))
        if mask is None:
            raise ImageReadError(name, "no brush mask that can be read")
        return mask


def is_label_studio(path: Path) -> bool:
    """Tell whether a JSON file is a list, as Label Studio's are and COCO's data sets are not."""
    try:
        with path.open("rb") as file:
            return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
    except OSError:
        return False


def read_label_studio(path: Path) -> LabelStudioTasks:
    """Read an export of Label Studio (JSON), or the tasks that were imported there.

    Of several annotations the last one that was not cancelled counts. Ids of the labels come from a
    ``label_config.xml`` beside the file; labels that it does not have follow, by name.

    Raises:
        UsageError: it is not such a file.
    """
    what = "a list of Label Studio's tasks"
    document = read_json(path, what=what, max_bytes=MAX_BYTES)
    if not isinstance(document, list) or not any(isinstance(_get(task, "data"), dict) for task in document):
        raise UsageError(f"{path} is not a COCO file (its results are not read), and not {what}")
    tasks = LabelStudioTasks({}, _configured(path.with_name(CONFIG)))
    for number, task in enumerate(document, 1):
        name = _image_name(_get(task, "data"))
        if name is None or name in tasks.results:
            tasks.lost.append(
                Skipped(name or f"task {number}", "no image" if name is None else "a second task")
            )
        else:
            tasks.results[name] = _results(task)
    results = chain.from_iterable(tasks.results.values())
    labels = {label for result in results for label in _labels(_get(result, "value"))}
    for label in sorted(labels - set(tasks.names.values())):
        tasks.names[max(tasks.names, default=0) + 1] = label
    return tasks


def _get(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _labels(value: object) -> Iterator[str]:
    found = _get(value, "brushlabels")
    return (label for label in (found if isinstance(found, list) else ()) if isinstance(label, str))


def _results(task: object) -> list[object]:
    """Return what the last annotation of a task holds, or the last prediction where nobody annotated."""
    for kind in ("annotations", "completions", "predictions"):
        entries = _get(task, kind)
        for entry in reversed(entries if isinstance(entries, list) else []):
            results = _get(entry, "result")
            if isinstance(results, list) and _get(entry, "was_cancelled") is not True:
                return results
    return []


def _image_name(data: object) -> str | None:
    """Return the path of a task's image: of what Label Studio serves, what it had been before."""
    values = list(data.values()) if isinstance(data, dict) else []
    value = _get(data, "image") or next((v for v in values if isinstance(v, str) and "." in v), None)
    if not isinstance(value, str):
        return None
    parts = urlsplit(value)
    served = parse_qs(parts.query, errors="surrogateescape").get("d")
    if served:
        return served[0].removeprefix("images/")
    folder, _, name = (parts.path if parts.scheme or "/data/upload/" in value else value).rpartition("/")
    return _UPLOADED.sub("", name) if "/data/upload/" in value else f"{folder}/{name}".lstrip("/")


def _brush(result: object) -> tuple[str, np.ndarray]:
    """Return label and (H, W) bool mask of a result.

    Raises:
        UsageError: it is no brush mask, or a damaged one.
    """
    value = _get(result, "value")
    if not isinstance(value, dict) or value.get("format") != "rle":
        raise UsageError(f"a {short_repr(_get(result, 'type'))}, no brush mask")
    labels = list(_labels(value))
    if len(labels) != 1:
        raise UsageError(f"{len(labels)} labels, where a mask has one")
    height, width = _get(result, "original_height"), _get(result, "original_width")
    if not (isinstance(height, int) and isinstance(width, int) and min(height, width) > 0):
        raise UsageError("no size of its image")
    if height * width > MAX_PIXELS:
        raise UsageError(f"an image of {width}x{height} is too large")
    return labels[0], decode_rle(value.get("rle"), height, width)


def _configured(path: Path) -> dict[int, str]:
    """Return the labels of an interface by their ids, if it is there: those of ``category``, or in order."""
    if not path.is_file():
        return {}
    try:
        found = list(ElementTree.fromstring(read_text(path, what="a labelling interface")).iter("Label"))
    except ElementTree.ParseError as error:
        raise UsageError(f"{path} is not a labelling interface: {error}") from error
    names: dict[int, str] = {}
    for order, label in enumerate(found, 1):
        category = label.get("category", "")
        number = int(category) if category.isascii() and category.isdigit() and len(category) < 6 else order
        if label.get("value") and 0 < number < LONGEST and number not in names:
            names[number] = label.get("value", "")
    return names
