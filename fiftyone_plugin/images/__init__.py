"""Pictures: which files there are, what they hold, and drawing on them.

May import common.
"""

from __future__ import annotations


def __getattr__(name: str) -> object:
    """Return what was in this module before it became a package; for one release."""
    if name in ("read_image", "image_size"):
        import warnings

        from . import reading

        text = f"{name} is in fiftyone_plugin.images.reading now; the old name goes with the next release"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return getattr(reading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
