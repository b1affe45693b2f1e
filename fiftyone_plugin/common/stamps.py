"""What tells two contents of one file apart without reading it: size and time of change."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import suppress

from .remote import StoreError, remote_stamp, url_of

__all__ = ["StampsDigest", "file_stamp", "stamps_sha256"]


def file_stamp(path: str | os.PathLike[str]) -> str:
    """Return ``size:mtime_ns`` of a file, empty where there is none that can be looked at.

    Of an object in a store it is ``size:tag``, as it was listed or read last.
    """
    if (url := url_of(path)) is not None:
        with suppress(StoreError):
            return remote_stamp(url)
        return ""
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return ""
    return f"{info.st_size}:{info.st_mtime_ns}" if stat.S_ISREG(info.st_mode) else ""


def stamps_sha256(stamps: Mapping[str, str]) -> str:
    """Return a digest of key -> stamp, whatever their order; files that are not there do not count."""
    digest = StampsDigest()
    for key, stamp in sorted(stamps.items()):
        digest.add(key, stamp)
    return digest.hexdigest()


class StampsDigest:
    """:func:`stamps_sha256`, image by image in the order of the keys."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, key: str, stamp: str) -> None:
        """Add an image."""
        if stamp:
            # keys may hold the bytes of file names that are not UTF-8
            self._digest.update(f"{key}\0{stamp}\n".encode("utf-8", "surrogatepass"))

    def hexdigest(self) -> str:
        """Return the digest of what was added."""
        return self._digest.hexdigest()
