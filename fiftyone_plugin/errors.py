"""Errors that a person can act on.

Every exception raised on purpose derives from :class:`PseudoMaskError`; its message says what happened, to
which file or sample, and what to do next. The shell prints that message alone, without a traceback.
"""

from __future__ import annotations

__all__ = [
    "ImageChangedError",
    "ImageReadError",
    "MissingDependencyError",
    "PseudoMaskError",
    "UsageError",
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
