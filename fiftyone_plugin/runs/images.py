"""Which images a run is of: listed when it begins, compared when it goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..common.files import is_below, write_json
from ..common.remote import url_of
from ..common.stamps import file_stamp, stamps_sha256
from ..common.untrusted import read_json
from ..errors import UsageError, without_secrets
from ..images.listing import ImageItem
from .record import RunDocument
from .samples import SampleRow, read_samples

__all__ = ["NamesDigest", "check_resumable", "describe_images", "names_sha256", "read_list", "write_list"]

IMAGE_SETTINGS = ("images", "image_names_sha256", "images_sha256")
"""Settings that say which images a run is of; compared here, and not as settings are."""
MAX_LIST_BYTES = 1 << 30
NAMED = 3  # images that an error names


def describe_images(stamps: Mapping[str, str]) -> dict[str, int | str]:
    """Return the settings that say which images a run is of, from key -> stamp."""
    values = (len(stamps), names_sha256(stamps), stamps_sha256(stamps))
    return dict(zip(IMAGE_SETTINGS, values, strict=True))


def names_sha256(keys: Iterable[str]) -> str:
    """Return what tells the images of two runs apart, by name, from their keys in order."""
    digest = NamesDigest()
    for key in keys:
        digest.add(key)
    return digest.hexdigest()


class NamesDigest:
    """:func:`names_sha256`, key by key."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._between = b""

    def add(self, key: str) -> None:
        """Add the next key."""
        # keys may hold the bytes of file names that are not UTF-8
        self._digest.update(self._between + key.encode("utf-8", "surrogatepass"))
        self._between = b"\n"

    def hexdigest(self) -> str:
        """Return the digest of what was added."""
        return self._digest.hexdigest()


def write_list(path: Path, items: Sequence[ImageItem]) -> None:
    """Write the images of a run."""
    write_json(path, [[item.key, without_secrets(item.path), item.mask_name] for item in items])


def read_list(path: Path) -> list[ImageItem] | None:
    """Read what :func:`write_list` wrote; ``None`` where earlier versions wrote none.

    Raises:
        UsageError: it cannot be read.
    """
    if not path.is_file():
        return None
    what = "the list of images of a run"
    rows = read_json(path, what=what, max_bytes=MAX_LIST_BYTES)
    if not isinstance(rows, list) or not all(map(_is_item, rows)):
        raise UsageError(f"{path} is not {what}: move it away, or begin anew with --overwrite")
    return [ImageItem(*row) for row in rows]


def _is_item(row: object) -> bool:
    if not isinstance(row, list) or len(row) != 3:
        return False
    return all(isinstance(text, str) for text in row) and is_below(row[2])


def check_resumable(
    root: Path,
    previous: RunDocument,
    settings: Mapping[str, object],
    items: Sequence[ImageItem],
    before: Sequence[ImageItem] | None,
    table: Path,
) -> list[ImageItem]:
    """Return the images of a run that goes on.

    The settings asked for are compared with those of the run's record ``previous``, the images by ``items``,
    unless there are none: with those that an unfinished run began with (``before``; ``None`` where it was not
    recorded), or with the ``table`` of a finished one. ``root`` is the run's folder, for errors.

    Raises:
        UsageError: settings or images differ; says how, and what to do.
    """
    complete = previous.is_complete
    by_items = bool(items) and (complete or before is not None)
    apart = IMAGE_SETTINGS if by_items else IMAGE_SETTINGS[2:]
    old, new = (
        {name: value for name, value in each.items() if name not in apart}
        for each in (previous.settings, json.loads(json.dumps(settings)))
    )
    state = "finished run" if complete else "run"
    if changed := _differences(old, new):
        raise UsageError(
            f"cannot resume the {state} in {root}: {'; '.join(changed[:4])}. Use the same settings, or "
            f"--overwrite"
        )
    try:
        if by_items and not complete and before is not None:
            return _compare_images(before, items)
        if by_items:
            rows = read_samples(table) if table.is_file() else []
            _check_same_images(previous.settings, rows, items)
    except UsageError as error:
        advice = "choose another --out" if complete else "use the same images"
        raise UsageError(
            f"cannot resume the {state} in {root}: {error}. {advice.capitalize()}, or --overwrite"
        ) from error
    return list(items)


def _differences(old: Mapping[str, object], new: Mapping[str, object], prefix: str = "") -> list[str]:
    """Describe where two settings differ, one phrase each."""
    found: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key} was {a!r}, now {b!r}")
    return found


def _compare_images(before: Sequence[ImageItem], now: Sequence[ImageItem]) -> list[ImageItem]:
    """Return the images of a run that goes on: those that it began with, where they lie now.

    Images that are gone stay listed, and fail when they are read. An image is the same by its path, or by its
    key where the whole folder has moved.

    Raises:
        UsageError: images were added, or some are no longer asked for although they are there.
    """
    by_path, by_key = {item.path: item for item in now}, {item.key: item for item in now}
    found: list[ImageItem] = []
    taken: set[str] = set()
    dropped: list[str] = []
    for item in before:
        same = by_path.get(item.path) or by_key.get(item.key)
        if same is not None:
            taken.add(same.path)
            found.append(ImageItem(item.key, same.path, item.mask_name))
            continue
        if os.path.lexists(item.path) or (url_of(item.path) is not None and file_stamp(item.path)):
            dropped.append(item.key)
        found.append(item)
    added = [item.key for item in now if item.path not in taken]
    if added or dropped:
        changes = [_count(added, "new"), _count(dropped, "no longer listed")]
        raise UsageError(f"images was {len(before)}, now {len(now)}: {', '.join(filter(None, changes))}")
    return found


def _check_same_images(
    settings: Mapping[str, object], rows: Sequence[SampleRow], now: Sequence[ImageItem]
) -> None:
    """Check that a finished run is of these images, as they are now; images that are gone do not count.

    Raises:
        UsageError: it is of others; says how many are new, changed, or no longer listed.
    """
    stamps = {item.key: file_stamp(item.path) for item in now}
    described = describe_images(stamps)
    # of the images of an earlier version only the names are known
    by = "images_sha256" if "images_sha256" in settings else "image_names_sha256"
    if described[by] == settings.get(by):
        return
    before = {row.image: row.stamp for row in rows}
    there = {key for key, stamp in stamps.items() if stamp}
    changed = [key for key in there & before.keys() if before[key] != stamps[key]]
    changes = [
        _count(sorted(there - before.keys()), "new"),
        _count(sorted(changed), "changed"),
        _count(sorted(key for key, stamp in before.items() if stamp and key not in there), "gone"),
    ]
    raise UsageError(f"its images are others now: {', '.join(filter(None, changes))}")


def _count(keys: Sequence[str], what: str) -> str:
    listed = ", ".join(keys[:NAMED]) + (", ..." if len(keys) > NAMED else "")
    return f"{len(keys)} {what} ({listed})" if keys else ""
