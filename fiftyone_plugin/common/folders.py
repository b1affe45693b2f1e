"""Folders as they are walked everywhere: without hidden files, through links, each folder once."""

from __future__ import annotations

import heapq
import logging
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator

from ..errors import UsageError
from . import remote
from .remote import url_of

__all__ = ["files_below"]

logger = logging.getLogger(__name__)

Prune = Callable[[str, str, Collection[str]], Collection[str] | None]


def files_below(root: str | os.PathLike[str], prune: Prune = lambda *_: ()) -> Iterator[str]:
    """Yield the POSIX paths, relative to ``root``, of all files below it that are not hidden.

    Linked folders are followed. Every folder is read once, however many links lead to it, so loops end; real
    folders come before linked ones, so that a path without links wins.

    Args:
        root: the folder; of one in a store, what lies below it is known from one listing.
        prune: asked for every folder on the disk, with its path below ``root``, its path and the names in it,
            which of these names are passed over; ``None`` passes over the whole folder.

    Raises:
        UsageError: ``root`` cannot be listed.
    """
    if (url := url_of(root)) is not None:
        yield from (
            name for name in remote.listing(url) if not any(p.startswith(".") for p in name.split("/"))
        )
        return
    root = os.fspath(root)
    seen: set[tuple[int, int]] = set()
    real, linked = deque([""]), list[str]()
    while real or linked:
        relative = real.popleft() if real else heapq.heappop(linked)
        folder = os.path.join(root, relative)
        try:
            info = os.stat(folder)
            if (info.st_dev, info.st_ino) in seen:
                continue
            seen.add((info.st_dev, info.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if not relative:
                raise UsageError(
                    f"cannot list the folder {root}: {error.strerror}; check its permissions"
                ) from error
            logger.warning("skipping the folder %s: %s", folder, error.strerror)
            continue
        hidden = prune(relative, folder, [entry.name for entry in entries])
        for entry in entries if hidden is not None else ():
            if entry.name.startswith(".") or entry.name in (hidden or ()):
                continue
            path = f"{relative}/{entry.name}" if relative else entry.name
            if not _is_folder(entry):
                yield path
            elif entry.is_symlink():
                heapq.heappush(linked, path)
            else:
                real.append(path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # e.g. a link to itself; listed if it is called like an image, it fails when it is read
        return False
