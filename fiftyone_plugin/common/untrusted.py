"""Readers of files that anybody may have written: bounded, validated once, one clear error for a bad one.

A run, a model, an export, a list of classes or a COCO file may come from a stranger. Whatever it holds, a
reader here returns checked values or raises :class:`~fiftyone_plugin.errors.UsageError` with one line.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from ..errors import UsageError
from .remote import StoreError, read_object, remote_stamp, url_of

__all__ = ["MAX_JSON_BYTES", "check_arrays", "parse_json", "read_bytes", "read_json", "read_text", "validate"]

MAX_JSON_BYTES = 64 << 20
"""Largest JSON file of this package's own kinds (run.json, classes.json, ...) that is read."""
MAX_DEPTH = 64  # of JSON; the deepest that this package writes is 8
LARGEST = 1e12  # magnitude of an array's values

T = TypeVar("T")


def read_bytes(path: str | os.PathLike[str], *, what: str, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """Return the content of a regular file of bounded size; a pipe, which would block for ever, is an error.

    Here and below ``what`` says in errors what it should be, e.g. ``"the record of a run"``.

    Raises:
        UsageError: it is missing, no regular file, too large or not readable.
    """
    if (url := url_of(path)) is not None:
        return _from_store(url, what, max_bytes)
    name = os.fspath(path)
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):
            raise UsageError(f"{name} is not {what}: not a regular file")
        if info.st_size > max_bytes:
            raise UsageError(f"{name} is not {what}: it has {info.st_size:,} bytes, more than {max_bytes:,}")
        with open(path, "rb") as file:
            # never more than is there: the buffer of a read is made in one piece
            return file.read(min(info.st_size, max_bytes) + 1)
    except OSError as error:
        raise UsageError(f"cannot read {name}, {what}: {error.strerror or error}") from error
    except UsageError:  # a ValueError too
        raise
    except ValueError as error:  # a null byte in the name
        raise UsageError(f"cannot read {name!r}, {what}: {error}") from error


def _from_store(url: str, what: str, max_bytes: int) -> bytes:
    """Do as :func:`read_bytes` with an object of a store."""
    try:
        size = remote_stamp(url).partition(":")[0]
        if size.isdigit() and int(size) > max_bytes:
            raise UsageError(f"{url} is not {what}: it has {int(size):,} bytes, more than {max_bytes:,}")
        return read_object(url)
    except StoreError as error:
        raise UsageError(f"cannot read {url}, {what}: {error.reason}") from None


def read_text(path: str | os.PathLike[str], *, what: str, max_bytes: int = MAX_JSON_BYTES) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark.

    Raises:
        UsageError: as :func:`read_bytes`, or it is not UTF-8.
    """
    data = read_bytes(path, what=what, max_bytes=max_bytes)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        name = url_of(path) or os.fspath(path)
        raise UsageError(f"{name} is not {what}: not UTF-8 text ({error.reason})") from error


def parse_json(text: str, *, path: object, what: str, finite: bool = True) -> Any:
    """Parse JSON of bounded depth that came from ``path``; ``finite`` refuses NaN and infinities, no JSON.

    Raises:
        UsageError: not JSON, too deep, or numbers that are not finite.
    """

    def refuse(name: str) -> float:
        raise ValueError(f"{name} is not a number of JSON")

    def number(literal: str) -> float:
        value = float(literal)
        if finite and not math.isfinite(value):
            raise ValueError(f"the number {literal[:20]} is too large")
        return value

    try:
        document = json.loads(text, parse_float=number, parse_constant=refuse if finite else None)
    except RecursionError:
        raise UsageError(f"{path} is not {what}: nested too deep") from None
    except ValueError as error:
        raise UsageError(f"{path} is not {what}: not JSON ({error})") from error
    if _depth(document) > MAX_DEPTH:
        raise UsageError(f"{path} is not {what}: nested more than {MAX_DEPTH} deep")
    return document


def read_json(
    path: str | os.PathLike[str], *, what: str, max_bytes: int = MAX_JSON_BYTES, finite: bool = True
) -> Any:
    """Read a JSON file, see :func:`read_text` and :func:`parse_json`.

    Raises:
        UsageError: it cannot be read or is not such a file; one line that names it.
    """
    text = read_text(path, what=what, max_bytes=max_bytes)
    return parse_json(text, path=url_of(path) or os.fspath(path), what=what, finite=finite)


def _depth(document: object) -> int:
    """Return how deep lists and objects are nested, without recursion."""
    depth, level = 0, [document] if isinstance(document, (dict, list)) else []
    while level and depth <= MAX_DEPTH:
        children = (child for held in level for child in (held.values() if isinstance(held, dict) else held))
        level = [child for child in children if isinstance(child, (dict, list))]
        depth += 1
    return depth


def validate(document: object, kind: type[T], *, path: object, what: str) -> T:
    """Check a document against a type: a pydantic model, a dataclass, ``dict[str, int]``, ...

    Types are strict: ``"3"`` is no number, ``true`` is no integer. Surrogates in texts come back as ``?``.
    The document is what :func:`read_json` returned of ``path``.

    Raises:
        UsageError: it does not fit; names the first place that does not.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        # from JSON: there lists stand for tuples and strings are the keys of every object
        adapter: TypeAdapter[T] = TypeAdapter(kind)
        # bytes of file names that are not UTF-8 are no text for pydantic; here they only have to be of a type
        text = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
        return adapter.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise UsageError(f"{path} is not {what}: {place}: {first['msg'].lower()}") from error


def check_arrays(
    arrays: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int | None, ...]],
    *,
    path: object,
    kinds: str = "fiub",
    low: float = -LARGEST,
    high: float = LARGEST,
) -> None:
    """Check arrays that were read: present, of these shapes and types, and every value finite and in range.

    Args:
        arrays: name -> array.
        shapes: name -> shape; ``None`` stands for any length.
        path: where they came from, for the error.
        kinds: NumPy's letters of the types allowed: ``f`` floats, ``i`` and ``u`` integers, ``b`` booleans.
        low: smallest value allowed.
        high: largest value allowed; by default sums of squares of float32 stay finite.

    Raises:
        UsageError: one does not fit.
    """
    for name, shape in shapes.items():
        if name not in arrays:
            raise UsageError(f"{path} lacks the array {name!r}")
        array = arrays[name]
        if array.ndim != len(shape) or any(
            w not in (None, n) for w, n in zip(shape, array.shape, strict=True)
        ):
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise UsageError(f"{path}: the array {name!r} has shape {array.shape}, not ({wanted})")
        if array.dtype.kind not in kinds:
            raise UsageError(f"{path}: the array {name!r} holds values of the type {array.dtype}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UsageError(f"{path}: the array {name!r} holds values that are not finite")
        if array.size and not (low <= float(array.min()) and float(array.max()) <= high):
            raise UsageError(f"{path}: the array {name!r} holds values outside {low:g}..{high:g}")
