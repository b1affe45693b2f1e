"""Where things are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["default_cache_dir"]


def default_cache_dir() -> Path:
    """Return ``$PSEUDOMASK_CACHE``, else ``fiftyone-pseudomask`` in the user's cache; nothing is created."""
    named = os.environ.get("PSEUDOMASK_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fiftyone-pseudomask"
