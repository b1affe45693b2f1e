"""Where the package keeps what it can compute again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..errors import UsageError

__all__ = ["CACHE_ENV", "cache_dir"]

CACHE_ENV = "PSEUDOMASK_CACHE"
FOLDER = "fiftyone-pseudomask"


def cache_dir() -> Path:
    """Return the absolute path of the cache folder; it is not created here.

    ``PSEUDOMASK_CACHE`` wins. Otherwise it is ``fiftyone-pseudomask`` in the user's cache folder:
    ``$XDG_CACHE_HOME`` or ``~/.cache`` on Linux, ``~/Library/Caches`` on macOS and ``%LOCALAPPDATA%`` on
    Windows.

    Raises:
        UsageError: the machine knows no home folder for this user and the variable is not set.
    """
    named = os.environ.get(CACHE_ENV)
    try:
        return Path(named).expanduser().absolute() if named else _user_cache_dir() / FOLDER
    except RuntimeError as error:  # pathlib's answer where there is no home folder
        raise UsageError(f"no home folder for the cache: set {CACHE_ENV} to a folder ({error})") from error


def _user_cache_dir() -> Path:
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG base directory specification: relative paths are invalid and must be ignored
    return Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache"
