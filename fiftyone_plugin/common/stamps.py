"""What tells two contents of one file apart without reading it: size and time of change."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping

__all__ = ["file_stamp", "stamps_sha256"]


def file_stamp(path: str | os.PathLike[str]) -> str:
    """Return ``size:mtime_ns`` of a file, empty where there is none that can be looked at."""
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return ""
    return f"{info.st_size}:{info.st_mtime_ns}" if stat.S_ISREG(info.st_mode) else ""


def stamps_sha256(stamps: Mapping[str, str]) -> str:
    """Return a digest of key -> stamp, whatever their order; files that are not there do not count."""
    lines = (f"{key}\0{stamp}\n" for key, stamp in sorted(stamps.items()) if stamp)
    # keys may hold the bytes of file names that are not UTF-8
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()
