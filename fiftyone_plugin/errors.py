"""Errors that a person can act on, and how unknown words are answered.

Every exception raised on purpose derives from :class:`PseudoMaskError`; its message says what happened, to
which file or sample, and what to do next. The shell prints that message alone, without a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "ImageChangedError",
    "ImageReadError",
    "MissingDependencyError",
    "PseudoMaskError",
    "UsageError",
    "did_you_mean",
    "unknown",
]


class PseudoMaskError(Exception):
    """Base of all errors raised on purpose by this package."""


class UsageError(PseudoMaskError, ValueError):
    """The caller asked for something impossible or contradictory (exit code 2 in the shell)."""


class MissingDependencyError(PseudoMaskError, ImportError):
    """An optional package, binary or weights file is not there; the message names the mend."""


class ImageReadError(PseudoMaskError):
    """One image cannot be used. Runs list it with ``reason`` and go on.

    Attributes:
        path: the file as it was named by the caller.
        reason: a short cause without the path, e.g. ``"truncated file"``.
    """

    def __init__(self, path: object, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"{self.path}: {reason}")

    def __reduce__(self) -> tuple[type[ImageReadError], tuple[str, str]]:
        # the default would call ``ImageReadError(message)`` and break in worker processes
        return type(self), (self.path, self.reason)


class ImageChangedError(ImageReadError):
    """An image was changed while it was being worked on: what was derived from it before does not hold."""

    def __init__(self, path: object, reason: str = "changed while it was labelled") -> None:
        super().__init__(path, reason)


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'mosaic'?"`` for the nearest known word, empty where none is near.

    Example:
        >>> did_you_mean("mosiac", ["mosaic", "datus"])
        "; did you mean 'mosaic'?"
    """
    import difflib

    plain = {name.lower(): name for name in known}
    close = difflib.get_close_matches(str(word)[:200].lower(), plain, n=1)
    return f"; did you mean {plain[close[0]]!r}?" if close else ""


def unknown(what: str, word: object, known: Iterable[str]) -> UsageError:
    """Return the error that answers an unknown word: with the nearest known one, and all of them."""
    names = list(known)
    nearest = did_you_mean(word, names)
    shown = repr(word) if len(repr(word)) <= 100 else f"{repr(word)[:100]}..."
    return UsageError(f"unknown {what} {shown}{nearest or ';'} known: {', '.join(names)}")
