"""Telling that memory ran short, of which libraries speak in their own ways."""

from __future__ import annotations

import errno

__all__ = ["is_out_of_memory"]

_WORDS = ("cannot allocate memory", "can't allocate memory", "out of memory", "can't start new thread")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory, or room for threads, ran short.

    Python and numpy raise ``MemoryError``, torch ``RuntimeError``, a library that cannot be loaded
    ``ImportError`` or ``OSError``.
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    text = str(error).lower()
    return isinstance(error, (RuntimeError, ImportError, OSError)) and any(word in text for word in _WORDS)
