"""How images and their masks are called: keys below a folder, and names that never clash on any disk."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from ..common.matching import shared_depth
from ..common.remote import url_of
from ..errors import UsageError

__all__ = ["keys_below", "mask_names", "place_of", "relative_keys"]

ROOT = "(root)"  # key of the root of a file system, should somebody name it as an image
LONGEST_NAME = 255  # bytes of a file name that the usual file systems take
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file; what follows the first dot does not count
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\.|$)", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$')


def place_of(path: str) -> PurePath:
    """Return a path as parts to compare; of an address the store and the path in it, without a query.

    Raises:
        UsageError: an address climbs with ``..``.
    """
    url = url_of(path)
    if url is None:
        return PurePath(path)
    scheme, _, rest = url.partition("://")
    if scheme.lower() in ("http", "https"):
        rest = unquote(rest.partition("?")[0].partition("#")[0]).rpartition("@")[2]
    parts = [part or "%" for part in rest.rstrip("/").split("/")]
    if ".." in parts:
        raise UsageError(f"{path} climbs with '..'; name where it leads to")
    return PurePosixPath("/", *parts)


def keys_below(root: str, paths: Sequence[str]) -> list[str]:
    """Return the POSIX paths of files relative to the folder ``root``, all absolute, whatever else is listed.

    Raises:
        UsageError: one does not lie below the folder; links are not looked at.
    """
    folder = place_of(root)
    places = [place_of(path) for path in paths]
    for path, place in zip(paths, places, strict=True):
        if place == folder or not place.is_relative_to(folder):
            raise UsageError(
                f"{path} does not lie below {root}, the root of the keys; name a folder above both"
            )
    return [place.relative_to(folder).as_posix() for place in places]


def relative_keys(paths: Sequence[PurePath]) -> list[str]:
    """Return POSIX paths relative to the deepest folder that holds all of ``paths`` (absolute, normalised).

    Paths on several Windows drives or shares have no such folder: their keys begin with the drive's letter or
    the share's name.
    """
    if not paths:
        return []

    windows = isinstance(paths[0], PureWindowsPath)
    common = shared_depth([tuple(p.lower() if windows else p for p in path.parts) for path in paths])
    keys = []
    for path in paths:
        anchor = [] if common else [path.anchor.replace("\\", "/").replace(":", "").strip("/")]
        parts = [*anchor, *path.parts[max(common, 1) :]]
        keys.append("/".join(parts) or ROOT)
    return keys


def mask_names(keys: Sequence[str], *, windows: bool = os.name == "nt") -> list[str]:
    """Name the mask of every key: ``a/b.jpg`` -> ``a/b.png``.

    Names are unique also on file systems that ignore case or normalise Unicode, and none is the name of a
    folder that another needs. Images whose names clash take ``key + ".png"``, and if that clashes too (keys
    that differ in case alone) a piece of the key's sha256 goes in between. With ``windows`` they
    are such that it can write them: images of a store, or of a run made elsewhere, may be called ``aux.jpg``
    or ``8:30.jpg``.
    """
    attempts = [0] * len(keys)
    while True:
        names = [_mask_name(key, attempt) for key, attempt in zip(keys, attempts, strict=True)]
        if windows:
            names = [_for_windows(name) for name in names]
        users: defaultdict[str, list[int]] = defaultdict(list)
        folders: set[str] = set()
        for index, name in enumerate(names):
            decomposed = unicodedata.normalize("NFD", name)
            plain = unicodedata.normalize("NFC", decomposed.casefold())
            users[plain].append(index)
            while (plain := posixpath.dirname(plain)) and plain not in folders:
                folders.add(plain)
        clashing: list[int] = []
        for name, indices in users.items():
            if name in folders:
                clashing += indices
            elif len(indices) > 1:
                # who has taken the longer name already may keep it
                least = min(attempts[index] for index in indices)
                clashing += [index for index in indices if attempts[index] == least]
        if not clashing:
            return names
        for index in clashing:
            attempts[index] += 1


def _mask_name(key: str, attempt: int) -> str:
    """Name a mask; where the last part is longer than file names may be, it is cut.

    A piece of the key's sha256 then tells it from others that begin alike.
    """
    digest = hashlib.sha256(_bytes(key)).hexdigest()
    name = key if attempt else posixpath.splitext(key)[0]
    ending = f".{digest[: 8 * (attempt - 1)]}.png" if attempt > 1 else ".png"
    folder, stem = posixpath.split(name.replace("\0", "_"))  # nobody finds that image, and it has a row
    if len(_bytes(stem + ending)) > LONGEST_NAME:
        ending = f".{digest[:16]}{ending}"
        while len(_bytes(stem + ending)) > LONGEST_NAME:
            stem = stem[:-1]
    return posixpath.join(folder, stem + ending)


def _for_windows(name: str) -> str:
    """Return a path that Windows can write: without characters it forbids, and not that of a device."""
    parts = [_FORBIDDEN.sub("_", part) for part in name.split("/")]
    return "/".join(f"_{part}" if _DEVICE.match(part) else part for part in parts)


def _bytes(text: str) -> bytes:
    # names on the disk may hold bytes that are not UTF-8
    return text.encode("utf-8", "surrogatepass")
