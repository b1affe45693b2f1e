"""Run and model folders as a stranger might craft them, made from finished runs; always the same ones.

:func:`crafted_inputs` lists them: each changes a copy of a run folder in one way and names the commands that
read what was changed. :class:`Workshop` makes the copies beside files that belong to somebody else.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

RUN_READERS = ("restart", "resume", "undo")
MODEL_READERS = ("label", "explain")
Change = Callable[[Path, Path], None]  # folder of the run, folder of somebody else


@dataclass(frozen=True)
class Crafted:
    """One crafted input.

    Attributes:
        name: what it is.
        method: of the run that it is made from.
        change: changes a copy of that run.
        commands: what reads it, keys of :data:`COMMANDS`.
    """

    name: str
    method: str
    change: Change
    commands: tuple[str, ...]


def crafted_inputs(methods: Iterable[str]) -> list[Crafted]:
    """Return all crafted inputs, in the same order each time."""
    rng = random.Random(0)
    methods = list(methods)
    first = methods[0]
    found = [
        *_documents("run.json", first, (*RUN_READERS, "export"), rng),
        *_documents("classes.json", first, ("compare",), rng),
        *_documents("calibration.json", first, ("calibration", "restart"), rng),
        *_documents("edits/001/edit.json", first, ("undo", "restart"), rng),
        *_documents("model/pipeline.json", first, (*MODEL_READERS, "dry-run"), rng),
        *_tables(first),
        *_journals(first),
        *_links(first),
    ]
    for method in methods:
        found += _documents("model/method.json", method, ("label",), rng)
        found += _array_files(method, rng)
    return found


# --- JSON -----------------------------------------------------------------------------------------

WHOLE = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "an object": b"{}",
    "a text": b'"run"',
    "a number": b"5",
    "half": b'{"format": 1, "settings": {',
    "not UTF-8": b'{"format": 1, "x": "\xff\xfe\x80"}',
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "NaN": b'{"format": NaN, "settings": {}}',
    "beyond float": b'{"format": 1e999, "settings": {}}',
    "a number of 6,000 digits": b'{"format": 1, "settings": {}, "n": ' + b"9" * 6_000 + b"}",
    "UTF-16": '{"format": 1}'.encode("utf-16"),
    "zeros": bytes(500),
}
VALUES: dict[str, Any] = {
    "null": None,
    "a list": [1, "x"],
    "an object": {"x": {"y": 1}},
    "a text": "../../victim.png",
    "below zero": -3,
    "huge": 10**30,
    "1e308": 1e308,
    "true": True,
    "deep": json.loads("[" * 200 + "]" * 200),
    "an address": "hf-hub:somebody/evil",
}


def _documents(file: str, method: str, commands: tuple[str, ...], rng: random.Random) -> Iterator[Crafted]:
    def crafted(what: str, change: Change) -> Crafted:
        return Crafted(f"{method}: {file}: {what}", method, change, commands)

    for what, content in WHOLE.items():
        yield crafted(what, lambda run, _, content=content: _write(run / file, content))
    yield crafted("a pipe", lambda run, _: _pipe(run / file))
    yield crafted("a folder", lambda run, _: _folder(run / file))
    yield crafted("a link to nothing", lambda run, _: _link(run / file, run / "nothing"))
    yield crafted("a link to somebody's file", lambda run, theirs: _link(run / file, theirs / "a.json"))
    yield crafted("80 megabytes", lambda run, _: _large(run / file, 80 << 20))
    for number in range(12):
        seed = rng.random()
        yield crafted(f"value {number}", lambda run, _, seed=seed: _change_value(run / file, seed))


def _change_value(path: Path, seed: float) -> None:
    """Replace, or remove, one value somewhere in a document."""
    rng = random.Random(seed)
    saved = path.with_name(path.name + ".saved")
    document = json.loads(saved.read_text())
    inner, key = document, rng.choice(sorted(document))
    while isinstance(inner[key], dict) and inner[key] and rng.random() < 0.6:
        inner = inner[key]
        key = rng.choice(sorted(inner))
    if rng.random() < 0.2:
        del inner[key]
    else:
        inner[key] = VALUES[rng.choice(sorted(VALUES))]
    path.write_text(json.dumps(document))


# --- table and journal ----------------------------------------------------------------------------


def _tables(method: str) -> Iterator[Crafted]:
    head = "image,mask,status,width,height,classes,shares,qualities,coverage,quality,seconds,error\n"
    row = "{image},{mask},{status},{width},{height},{classes},{shares},,{coverage},{quality},{seconds},\n"
    usual = {"image": "a.png", "mask": "a.png", "status": "labelled", "width": 64, "height": 48}
    usual |= {"classes": "1 2", "shares": "0.5 0.5", "coverage": 1.0, "quality": 0.5, "seconds": 0.1}
    changes: dict[str, dict[str, Any]] = {
        "climbs": {"mask": "../../theirs/photo.png"},
        "climbs further on": {"mask": "x/../../../theirs/photo.png"},
        "is absolute": {"mask": "{theirs}/photo.png"},
        "backslashes": {"mask": "..\\..\\theirs\\photo.png"},
        "no size": {"width": "wide"},
        "a negative size": {"height": -1},
        "a size of 10^30": {"width": 10**30},
        "a class below 0": {"classes": "-1 2"},
        "a class of 70,000": {"classes": "1 70000"},
        "a class of 10^30": {"classes": f"1 {10**30}"},
        "a class with a name": {"classes": "1 sky"},
        "fewer shares": {"shares": "0.5"},
        "shares of NaN": {"shares": "nan nan"},
        "an infinite quality": {"quality": "inf"},
        "a quality of NaN": {"quality": "nan"},
        "a coverage of 7": {"coverage": 7},
        "seconds of 1e999": {"seconds": "1e999"},
        "another status": {"status": "done"},
        "a very long name": {"image": "a" * 200_000},
        "escapes": {"image": "\x1b[2J\x07.png"},
        "a mask that is a folder": {"mask": "."},
    }
    contents: dict[str, Callable[[str], bytes]] = {
        name: lambda theirs, change=change: (
            head + row.format(**{k: str(v).format(theirs=theirs) for k, v in (usual | change).items()})
        ).encode()
        for name, change in changes.items()
    }
    line = row.format(**usual)
    texts = {
        "empty": "",
        "only a head": head,
        "other columns": "a,b\n1,2\n",
        "more cells": head + line.rstrip("\n") + ",more\n",
        "fewer cells": head + "a.png,a.png\n",
        "an open quote": head + '"' + line,
        "nulls": head + line.replace("a.png", "a\0.png"),
        "bare carriage returns": head + line.replace("\n", "\r") * 3,
    }
    contents |= {name: lambda theirs, text=text: text.encode() for name, text in texts.items()}
    contents["12 megabytes without a line"] = lambda theirs: bytes(12 << 20)
    contents["not UTF-8"] = lambda theirs: bytes(range(256)) * 4
    commands = (*RUN_READERS, "export", "calibrate")
    for name, content in contents.items():
        yield Crafted(
            f"samples.csv: {name}",
            method,
            lambda run, theirs, content=content: _write(run / "samples.csv", content(str(theirs))),
            commands,
        )
    yield Crafted("samples.csv: a pipe", method, lambda run, _: _pipe(run / "samples.csv"), commands[:3])
    for file in ("samples.csv", "run.json", "classes.json", "masks/p0.png", "model/method.json"):
        readers = (*commands, *MODEL_READERS) if file.startswith("model") else commands
        yield Crafted(
            f"{file}: 100 gigabytes", method, lambda run, _, f=file: _large(run / f, 10**11), readers
        )
        yield Crafted(f"{file}: a socket", method, lambda run, _, f=file: _socket(run / f), readers)
        yield Crafted(
            f"{file}: a device", method, lambda run, _, f=file: _link(run / f, Path("/dev/zero")), readers
        )
        yield Crafted(
            f"{file}: a link to itself", method, lambda run, _, f=file: _link(run / f, run / f), readers
        )
    yield Crafted("samples.csv: a folder", method, lambda run, _: _folder(run / "samples.csv"), commands[:3])


def _journals(method: str) -> Iterator[Crafted]:
    lines = {
        "climbs": b'{"image": "a.png", "mask": "../../theirs/photo.png"}',
        "is absolute": b'{"image": "a.png", "mask": "/etc/hostname"}',
        "deep": b"[" * 100_000,
        "not UTF-8": b"\xff\xfe\x00\n{}",
        "of other types": b'{"image": 5, "mask": [1]}\n[]\nnull\n7',
        "other keys": b'{"image": "a.png", "mask": "a.png", "x": 1}',
        "one line of 20 megabytes": b"x" * (20 << 20),
        "numbers that are none": b'{"image": "a.png", "mask": "a.png", "quality": NaN, "classes": "x"}',
    }

    def unfinished(run: Path, content: bytes | None) -> Path:
        document = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**document, "status": "running"}))
        (run / "samples.csv").unlink()
        (run / ".work").mkdir()
        journal = run / ".work" / "journal.jsonl"
        if content is not None:
            journal.write_bytes(content)
        return journal

    for name, content in lines.items():
        change = lambda run, _, content=content: unfinished(run, content)  # noqa: E731
        yield Crafted(f"journal: {name}", method, change, RUN_READERS)
    yield Crafted("journal: a pipe", method, lambda run, _: os.mkfifo(unfinished(run, None)), RUN_READERS)
    yield Crafted(
        "journal: a link to somebody's file",
        method,
        lambda run, theirs: unfinished(run, None).symlink_to(theirs / "notes.txt"),
        RUN_READERS,
    )


# --- links, and files of a person -----------------------------------------------------------------


def _links(method: str) -> Iterator[Crafted]:
    commands = (*RUN_READERS, "calibrate")
    for name in (
        "masks",
        "confidence",
        "exemplars",
        "model",
        "edits",
        ".work",
        "edits/001",
        "edits/001/masks",
    ):
        yield Crafted(f"link: {name}", method, lambda run, theirs, n=name: _link(run / n, theirs), commands)
    for name in ("masks/sub", "confidence/sub", "exemplars/sub"):
        yield Crafted(
            f"link: {name}",
            method,
            lambda run, theirs, n=name: [_link(run / n, theirs), _list_mask(run, "sub/photo.png")],
            commands,
        )
    for name in (
        *("contact_sheet.png", "dendrogram.png", "eigenvalues.png", "classes.json", "expected_iou.csv"),
        "filtering.png",
        *("calibration.json", "model/arrays.safetensors", "model/method.json", "exemplars/class_0001.jpg"),
        *("masks/p0.png", "confidence/p0.png", ".work/lock", ".work/stop", ".work/training.pt"),
    ):
        yield Crafted(
            f"link to a file: {name}",
            method,
            lambda run, theirs, n=name: _link(run / n, theirs / "notes.txt"),
            commands,
        )
    yield Crafted("nothing crafted", method, lambda run, theirs: None, (*commands, *MODEL_READERS, "compare"))


def _list_mask(run: Path, name: str) -> None:
    table = run / "samples.csv"
    head, first, *rest = table.read_text().splitlines()
    cells = first.split(",")
    cells[1] = name
    table.write_text("\n".join([head, ",".join(cells), *rest]) + "\n")


# --- arrays ---------------------------------------------------------------------------------------


def _array_files(method: str, rng: random.Random) -> Iterator[Crafted]:
    whole = {
        "empty": b"",
        "zeros": bytes(1000),
        "a header of 2^60 bytes": (1 << 60).to_bytes(8, "little") + b"{}",
        "a header that is no JSON": (4).to_bytes(8, "little") + b"abcd",
    }
    file = "model/arrays.safetensors"
    for what, content in whole.items():
        yield Crafted(
            f"{method}: arrays: {what}", method, lambda run, _, c=content: _write(run / file, c), ("label",)
        )
    yield Crafted(f"{method}: arrays: a pipe", method, lambda run, _: _pipe(run / file), ("label",))
    yield Crafted(f"{method}: arrays: half", method, lambda run, _: _halve(run / file), ("label",))
    for number in range(16):
        seed = rng.random()
        yield Crafted(
            f"{method}: arrays: change {number}",
            method,
            lambda run, _, seed=seed: _change_array(run / file, seed),
            ("label", "explain", "recut") if number < 4 else ("label",),
        )


def _change_array(path: Path, seed: float) -> None:
    rng = random.Random(seed)
    arrays = load_file(path)
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    flat = array.reshape(-1)
    changes: dict[str, Callable[[], np.ndarray | None]] = {
        "gone": lambda: None,
        "flat": lambda: flat[None, None],
        "fewer": lambda: array[: len(array) // 2],
        "narrow": lambda: array[..., : max(1, array.shape[-1] // 2)],
        "nothing": lambda: array[:0],
        "nan": lambda: np.full_like(array, np.nan) if array.dtype.kind == "f" else np.full_like(array, -1),
        "huge": lambda: (
            np.full_like(array, np.finfo(array.dtype).max) if array.dtype.kind == "f" else array + 2**30
        ),
        "other type": lambda: array.astype(np.int64 if array.dtype.kind == "f" else np.float32),
        "zeros": lambda: np.zeros_like(array),
        "noise": lambda: (np.random.default_rng(0).normal(size=array.shape) * 1e6).astype(array.dtype),
    }
    new = changes[rng.choice(sorted(changes))]()
    arrays = {k: v for k, v in arrays.items() if k != name}
    if new is not None:
        arrays[name] = np.ascontiguousarray(new)
    save_file(arrays, path)


# --- the disk -------------------------------------------------------------------------------------


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _socket(path: Path) -> None:
    path.unlink()
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"{short}/s")  # such paths have some 100 bytes at most
        os.rename(f"{short}/s", path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _large(path: Path, size: int) -> None:
    path.write_bytes(b"{")
    os.truncate(path, size)  # takes no room on the disk


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
