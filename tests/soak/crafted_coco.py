"""COCO files that no tool should write, each with a good image beside the bad thing; and a run over them.

    python tests/soak/crafted_coco.py FOLDER [FIRST STEP]

imports every STEP-th case from FIRST on and prints how each ended, as a line of JSON. pycocotools is C code:
what it does to a process that trusts such input is why this is one of its own.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SQUARE = [[1, 1, 6, 1, 6, 6, 1, 6]]
NAN, INFINITY = float("nan"), float("inf")
DEEP: Any = "__deep__"  # stands for lists in lists, which json cannot write

SEGMENTATIONS: dict[str, Any] = {
    "missing": None,
    "empty": [],
    "an empty ring": [[]],
    "text": "polygon",
    "a number": 7,
    "true": True,
    "nested text": [["a", "b", "c", "d", "e", "f"]],
    "numbers as text": [["1", "1", "6", "1", "6", "6"]],
    "null in a ring": [[1, 1, None, 1, 6, 6]],
    "an odd count": [[1, 1, 6, 1, 6, 6, 1]],
    "two points": [[1, 1, 6, 6]],
    "one pair": [[1, 1]],
    "points of three": [[1, 1, 1], [2, 2, 2], [3, 3, 3]],
    "NaN": [[NAN, 1, 6, 1, 6, 6]],
    "infinity": [[INFINITY, 1, 6, 1, 6, 6]],
    "minus infinity": [[1, -INFINITY, 6, 1, 6, 6]],
    "1e308": [[1, 1, 1e308, 1, 6, 6]],
    "minus 1e308": [[1, 1, -1e308, -1e308, 6, 6]],
    "10**400": [[1, 1, 10**400, 1, 6, 6]],
    "2**31": [[1, 1, 2**31, 1, 6, 2**31]],
    "-2**31": [[1, 1, -(2**31), 1, 6, 6]],
    "2**63": [[1, 1, 2**63, 1, 6, 6]],
    "1e9": [[-1e9, -1e9, 1e9, 1e9, -1e9, 1e9]],
    "1e7": [[1, 1, 1e7, 1, 6, 6]],
    "a far zigzag": [[v for i in range(2000) for v in (-1e9, i, 1e9, -i)]],
    "a ring of 100,000 points": [[v for i in range(50_000) for v in (i % 9, i % 7)]],
    "10,000 rings": SQUARE * 10_000,
    "deep": DEEP,
    "RLE without size": {"counts": [64]},
    "RLE without counts": {"size": [8, 8]},
    "RLE of size 0": {"size": [0, 0], "counts": []},
    "RLE of negative size": {"size": [-8, -8], "counts": [64]},
    "RLE of size 10**9": {"size": [10**9, 10**9], "counts": [10**18]},
    "RLE of another size": {"size": [4, 16], "counts": [64]},
    "RLE size of text": {"size": ["8", "8"], "counts": [64]},
    "RLE size of one": {"size": [8], "counts": [64]},
    "RLE too short": {"size": [8, 8], "counts": [10]},
    "RLE too long": {"size": [8, 8], "counts": [10, 500]},
    "RLE with a negative run": {"size": [8, 8], "counts": [70, -6]},
    "RLE of 2**32": {"size": [8, 8], "counts": [2**32, 64]},
    "RLE of 2**64": {"size": [8, 8], "counts": [2**64 + 64]},
    "RLE of floats": {"size": [8, 8], "counts": [10.5, 53.5]},
    "RLE of NaN": {"size": [8, 8], "counts": [NAN, 64]},
    "RLE of text": {"size": [8, 8], "counts": ["10", "54"]},
    "RLE of lists": {"size": [8, 8], "counts": [[10], [54]]},
    "RLE counts null": {"size": [8, 8], "counts": None},
    "RLE empty string": {"size": [8, 8], "counts": ""},
    "RLE string cut short": {"size": [8, 8], "counts": "PPPPo"},
    "RLE string without end": {"size": [8, 8], "counts": "o" * 10_000},
    "RLE string too long": {"size": [8, 8], "counts": "0" * 100_000},
    "RLE string of large runs": {"size": [8, 8], "counts": "ooooooooooo3" * 50},
    "RLE string of negative runs": {"size": [8, 8], "counts": "@@@@@@@@@"},
    "RLE string not ASCII": {"size": [8, 8], "counts": "\u00e9\U0001f600"},
    "RLE string with zeros": {"size": [8, 8], "counts": "\x00\x00\x00"},
    "RLE string with spaces": {"size": [8, 8], "counts": "  10 54  "},
}

FILE_NAMES = [
    None, 3, "", ".", "..", "/", "a\0b.jpg", "x" * 300 + ".jpg", "../../../bad.jpg", "CON.jpg", "C:\\bad.jpg",
    "\\\\server\\share\\bad.jpg", "good.jpg", "GOOD.JPG", "good.png", "\ud800.jpg", "a\nb.jpg",
    "good.png/x.jpg",
]  # fmt: skip


def base() -> dict[str, Any]:
    """A file of two images, of which only the first has an annotation."""
    return {
        "images": [
            {"id": 1, "file_name": "good.jpg", "width": 8, "height": 8},
            {"id": 2, "file_name": "bad.jpg", "width": 8, "height": 8},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": SQUARE}],
    }


def annotation(**changes: Any) -> dict[str, Any]:
    return {"id": 2, "image_id": 2, "category_id": 2, "segmentation": SQUARE, **changes}


Change = Callable[[dict[str, Any]], Any]


def _changes() -> Iterator[tuple[str, Change]]:
    """Yield what is done to the file, besides the segmentations."""
    for key in ("image_id", "category_id", "id"):
        for value in (None, "", "x", [], {}, True, NAN, 1.5, -1, 10**30, "9" * 5000):
            yield f"{key} {str(value)[:20]!r} of {type(value).__name__}", _add(annotation(**{key: value}))
    for value in (None, 3, "x", [], [1], True):
        yield f"annotation {value!r}", _add(value)
    for key in ("images", "categories", "annotations"):
        for value in (None, {}, "x", 3, [], [None], [[]], ["x"], [{}]):
            yield f"{key} {value!r}", _set(key, value)
        yield f"without {key}", lambda document, key=key: document.pop(key)
    for key in ("width", "height"):
        for value in (0, -8, 8.5, "8", "x", None, True, [], 10**9, 10**30, NAN):
            yield f"{key} {value!r}", _image(**{key: value})
    for value in FILE_NAMES:
        yield f"file_name {str(value)[:20]!a}", _image(file_name=value)
    for value in (1, "1", None, [], NAN):
        yield f"image id {value!r}", _image(id=value)
    for value in ({"id": 1, "name": "other"}, {"id": "1", "name": "cat"}, {"id": 70_000, "name": "far"},
                  {"id": 3}, {"id": 3, "name": ["a"]}, {"id": 3, "name": "x", "class_id": "1"},
                  {"id": 0, "name": "zero"}, {"id": -1, "name": "negative"}, {"name": "no id"}):  # fmt: skip
        yield f"category {value!r}", lambda document, value=value: document["categories"].append(value)
    yield "70,000 categories", _set("categories", [{"id": i, "name": str(i)} for i in range(1, 70_001)])
    for value in (None, 3, "x", [], [None], [{}], [{"id": 1}], [{"id": "1", "category_id": 1}]):
        yield f"segments_info {value!r}", _add(annotation(segments_info=value, file_name="bad.png"))
    for value in (None, "../x.png", "/etc/passwd", "none.png", "a\0.png"):
        yield f"panoptic file_name {value!r}", _add(annotation(segments_info=[], file_name=value))


def _add(entry: Any) -> Change:
    return lambda document: document["annotations"].append(entry)


def _set(key: str, value: Any) -> Change:
    return lambda document: document.update({key: value})


def _image(**changes: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        document["images"][1].update(changes)
        document["annotations"].append(annotation())

    return change


def cases() -> list[tuple[str, bytes]]:
    """Return names and contents of all files, always in the same order."""
    found = []
    for name, segmentation in SEGMENTATIONS.items():
        document = base()
        document["annotations"].append(annotation(segmentation=segmentation))
        found.append((f"segmentation: {name}", _dump(document)))
    for name, change in _changes():
        document = copy.deepcopy(base())
        change(document)
        found.append((name, _dump(document)))
    whole = _dump(base())
    files = {
        "cut short": whole[:-40],
        "empty": b"",
        "a byte order mark": b"\xef\xbb\xbf" + whole,
        "UTF-16": whole.decode().encode("utf-16"),
        "not text": bytes(range(256)),
        "deep lists": b"[" * 200_000,
        "deep objects": b'{"a":' * 200_000,
        "a number": b"7",
        "a list": b"[]",
        "null": b"null",
    }
    for name, content in files.items():
        found.append((f"file: {name}", content))
    return found


def _dump(document: Any) -> bytes:
    return json.dumps(document).replace(f'"{DEEP}"', "[" * 500 + "]" * 500).encode()


def run(folder: Path, first: int = 0, step: int = 1) -> None:
    """Import every case and print how it ended."""
    from fiftyone_plugin.errors import PseudoMaskError
    from fiftyone_plugin.formats import read_masks

    for number, (name, content) in list(enumerate(cases()))[first::step]:
        path = folder / f"{number}.json"
        path.write_bytes(content)
        begin = time.perf_counter()
        print(json.dumps({"begins": name}), flush=True)
        try:
            result = read_masks(path, folder / f"out{number}")
            end = {"masks": sorted(result.masks), "skipped": len(result.skipped)}
        except PseudoMaskError as error:
            end = {"error": str(error)}
        except Exception as error:
            end = {"traceback": f"{type(error).__name__}: {error}"}
        print(json.dumps({"name": name, "seconds": time.perf_counter() - begin, **end}), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, os.fspath(Path(__file__).resolve().parents[2]))
    run(Path(sys.argv[1]), *map(int, sys.argv[2:4]))
