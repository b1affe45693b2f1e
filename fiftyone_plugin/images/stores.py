"""Listing images in stores: the same rules as on the disk, from one listing of what lies below an address."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from itertools import takewhile
from urllib.parse import unquote

from ..common.remote import join_url, listing, read_object
from ..errors import UsageError
from .left_out import RECORDS, RUN_OUTPUTS, LeftOut, is_export_record, is_run_record
from .reading import image_extensions

__all__ = ["find_in_store", "glob_store", "is_glob", "is_one_image", "matches"]


def is_one_image(url: str) -> bool:
    """Tell whether an address names an image by its extension; others name folders."""
    path = url.partition("?")[0].lower()
    return path.endswith(tuple(image_extensions()))


def is_glob(url: str) -> bool:
    """Tell whether an address is a pattern; in one of the web, ``?`` begins a query."""
    return glob.has_magic(url.partition("?")[0] if url.lower().startswith("http") else url)


def find_in_store(url: str, left_out: LeftOut) -> dict[str, str]:
    """Return key -> address of the images below an address; keys of the web are not percent-encoded."""
    web = url.lower().startswith(("http://", "https://"))
    names = left_out.images_of(_walk(url, left_out))
    return {_safe(unquote(name) if web else name): join_url(url, name) for name in names}


def _walk(url: str, left_out: LeftOut) -> Iterator[str]:
    """Yield the names below an address; what is hidden or a result of this package is passed over.

    As in :func:`~.listing.list_images`: hidden is what begins with a dot, or lies in a folder that does.
    """
    names = list(listing(url))
    results = _results(url, names)
    left_out.folders += sorted(results - {""})
    own = RUN_OUTPUTS if "" in results and is_run_record(_read(join_url(url, "run.json"))) else frozenset()
    for name in names:
        parts = name.split("/")
        above = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
        hidden = parts[0] in own or any(part.startswith(".") for part in parts)
        if not hidden and not any(folder in results for folder in above):
            yield name


def glob_store(pattern: str, left_out: LeftOut) -> Iterator[str]:
    """Yield the addresses of images that match; ``**`` stands for any number of folders."""
    parts = pattern.split("/")
    fixed = list(takewhile(lambda part: not glob.has_magic(part), parts))
    head, rest = "/".join(fixed), parts[len(fixed) :]
    names = (name for name in _walk(head, left_out) if matches(name.split("/"), rest))
    yield from (join_url(head, name) for name in left_out.images_of(names))


def matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Match path components against pattern components; ``**`` stands for any number of folders."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        if len(pattern) == 1:
            return bool(path)
        return any(matches(path[i:], pattern[1:]) for i in range(len(path)))
    return bool(path) and fnmatch(path[0], pattern[0]) and matches(path[1:], pattern[1:])


def _results(url: str, names: Sequence[str]) -> set[str]:
    """Return the folders that hold a run, an export or an import of this package, by their records."""
    found = set()
    for name in names:
        folder, _, record = name.rpartition("/")
        if record in RECORDS:
            document = _read(join_url(url, name))
            if is_run_record(document) or is_export_record(document):
                found.add(folder)
    return found


def _read(url: str) -> dict[str, object]:
    try:
        document = json.loads(read_object(url))
    except (ValueError, RecursionError):  # somebody else's
        return {}
    return document if isinstance(document, dict) else {}


def _safe(name: str) -> str:
    """Return a name as a key: stores take empty names of folders, disks do not."""
    parts = [part or "%" for part in name.split("/")]
    if ".." in parts:
        raise UsageError(f"an image is called {name!r}, which leads out of its folder; rename it")
    return "/".join(parts)
