"""Errors that a person can act on, and how unknown words are answered.

Every exception raised on purpose derives from :class:`PseudoMaskError`; its message says what happened, to
which file or sample, and what to do next. The shell prints that message alone, without a traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["ImageChangedError", "ImageReadError", "MissingDependencyError", "PseudoMaskError", "UsageError"]
__all__ += ["did_you_mean", "unknown", "without_secrets"]

_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*)://([^\s'\"<>]*)")
_QUERY = re.compile(r"[?#].*", re.DOTALL)
_HARMLESS = re.compile(r"\?versionId=[\w.-]+")
_NAMED = re.compile(
    r"(?i)\b(x-(?:amz|goog)-[\w-]+|[\w-]*(?:token|secret|password|passwd|signature|credential|api[_-]?key|"
    r"access[_-]?key(?:[_-]?id)?)|sig)=[^\s&'\"<>)]+"
)


def without_secrets(text: str) -> str:
    """Return a text in which no address shows what gives access: passwords, signatures, tokens.

    Of an address stay scheme, host and path: the query and the fragment become ``?...`` (a ``versionId`` is
    no secret), the user and password of a host go, and so do values like ``token=...`` anywhere else.

    Example:
        >>> without_secrets("no such file: https://me:key@host/a.jpg?X-Amz-Signature=0ab")
        'no such file: https://host/a.jpg?...'
    """
    if "=" not in text and "://" not in text:
        return text

    def clean(found: re.Match[str]) -> str:
        scheme, rest = found[1], found[2].rstrip(":;,)")
        end = found[2][len(rest) :]
        place = rest if _HARMLESS.fullmatch(rest[rest.find("?") :]) else _QUERY.sub("?...", rest)
        host, slash, path = place.partition("/")
        user, at, server = host.rpartition("@")
        if at and (":" in user or scheme.lower() in ("http", "https")):
            host = server
        return f"{scheme}://{host}{slash}{path}{end}"

    return _NAMED.sub(r"\1=...", _URL.sub(clean, text))


class PseudoMaskError(Exception):
    """Base of all errors raised on purpose by this package; addresses in it show no secrets."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(without_secrets(arg) if isinstance(arg, str) else arg for arg in args))


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
        self.path = without_secrets(str(path))
        self.reason = without_secrets(reason)
        super().__init__(f"{self.path}: {self.reason}")

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
