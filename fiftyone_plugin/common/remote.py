"""Files in stores that fsspec knows (s3://, gs://, az://, https://, memory://): read, listed, written.

Local paths never come here. Credentials are those that the stores' own programs use: environment, profiles,
roles; none is taken from an address into a record. Every call is tried again, a few times and ever later,
where the error may pass; what will not pass, such as a missing object or a refusal, is raised at once.

What a store says of an object - size and entity tag, else time of change - is remembered from the listing, so
that reading costs one request, and a body of another length than was promised is noticed.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from ..errors import MissingDependencyError, PseudoMaskError, UsageError, without_secrets

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["READERS", "StoreError", "StoreGone", "ahead", "exists", "folder_of", "join_url", "listing"]
__all__ += ["read_object", "remote_stamp", "remove_objects", "stamp_all", "url_of", "write_object"]

T = TypeVar("T")
R = TypeVar("R")

READERS = 8  # requests at a time: a store takes milliseconds to answer, whatever the processor does meanwhile
ATTEMPTS = 4
PATIENCE_S = 45.0  # after which no other attempt is begun
FIRST_WAIT_S = 0.2  # then four times as long each time, and up to as much again by chance
GONE_AFTER = 24  # objects in a row that could not be had for want of an answer: the store is gone
EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gs"),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), "az"),
    **dict.fromkeys(("http", "https"), "http"),
}
"""Scheme of an address -> the extra of this package that brings its file system."""
LASTING = (
    *(FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError),
    *(ValueError, TypeError, NotImplementedError, ImportError, AttributeError),
)
FLAT = {*EXTRAS, "memory"}  # stores without folders that must be made first
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # a drive of Windows has one letter


class StoreError(PseudoMaskError):
    """A store did not do what was asked: the ``reason``, without the address, and if it may work later."""

    def __init__(self, url: str, reason: str, passing: bool = False) -> None:
        self.reason, self.passing = without_secrets(reason), passing
        super().__init__(f"{url}: {reason}")


class StoreGone(PseudoMaskError):
    """A store has stopped answering: what comes next would fail too."""


def url_of(path: object) -> str | None:
    """Return the address that a path is, a text or a ``UPath``; ``None`` for a local path."""
    text = path if isinstance(path, str) else str(path) if hasattr(path, "storage_options") else ""
    found = _SCHEME.match(text)
    return text if found and found[1].lower() not in ("file", "local") else None


def folder_of(path: str | os.PathLike[str]) -> Path:
    """Return a ``Path`` of a local path; of an address a ``UPath``, which is used in the same way.

    Raises:
        MissingDependencyError: the package for its store is not installed.
        UsageError: there is no such store.
    """
    if (url := url_of(path)) is None:
        return Path(path)
    _open(url)
    try:
        from upath import UPath
    except ImportError:
        raise _needs(url) from None
    return cast(Path, UPath(url))


def join_url(url: str, name: str) -> str:
    """Return the address of what is called ``name`` below ``url``."""
    return f"{url.rstrip('/')}/{name}"


# ---------------------------------------------------------------------- what is asked of a store


def read_object(url: str) -> bytes:
    """Return the content of an object.

    Raises:
        StoreError: it cannot be had, or comes in another length than the store promises.
        StoreGone: one more of many in a row for which the store had no answer.
    """

    def fetch(fs: AbstractFileSystem, path: str) -> bytes:
        promised = _STAMPS.get(url, "").partition(":")[0]
        # one request: s3fs asks for the size first where it may fetch parts side by side
        data = bytes(fs.cat_file(path, **({"max_concurrency": 1} if _scheme(url) in ("s3", "s3a") else {})))
        if promised.isdigit() and int(promised) != len(data):
            _STAMPS.pop(url, None)
            fs.invalidate_cache(path)
            if not (now := remote_stamp(url)).startswith(f"{len(data)}:"):
                raise ConnectionError(f"truncated: {len(data):,} of {now.partition(':')[0]} bytes came")
        return data

    return _noted(url, lambda: _tried(url, fetch))


def remote_stamp(url: str) -> str:
    """Return ``size:tag`` of an object as it was listed or looked at last, empty where there is none."""
    if url not in _STAMPS:
        try:
            _STAMPS[url] = _tried(url, lambda fs, path: _stamp(fs.info(path)))
        except StoreError as error:
            if error.passing:
                raise
            return ""
    return _STAMPS[url]


def stamp_all(urls: Iterable[str]) -> None:
    """Ask for the stamps of objects that no listing has told, several at a time."""

    def look(url: str) -> None:
        _STAMPS.pop(url, None)
        try:
            _noted(url, lambda: remote_stamp(url))
        except StoreError:
            _STAMPS[url] = ""  # it fails when it is read, and says why

    for _ in ahead(look, urls):
        pass


def listing(url: str) -> Iterator[str]:
    """Yield the names of the objects below an address, relative to it, sorted; their stamps are remembered.

    Raises:
        StoreError: it cannot be listed.
    """

    def find(fs: AbstractFileSystem, path: str) -> tuple[str, Mapping[str, Mapping[str, object]]]:
        fs.invalidate_cache()
        return f"{path.rstrip('/')}/", fs.find(path, detail=True)

    try:
        root, found = _tried(url, find)
    except StoreError as error:
        if not error.passing and error.reason == NO_FILE:
            return
        raise
    base = url.rstrip("/")
    for name in sorted(found):
        if name.startswith(root) and not name.endswith("/") and found[name].get("type") != "directory":
            below = name[len(root) :]
            _STAMPS[f"{base}/{below}"] = _stamp(found[name])
            yield below


def ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield what ``function`` returns of every item, in order, from threads that are somewhat in advance."""
    with ThreadPoolExecutor(READERS, thread_name_prefix="ahead") as pool:
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * READERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def exists(url: str) -> bool:
    """Tell whether there is an object at this moment.

    Raises:
        StoreError: the store does not answer, or does not let us look.
    """

    def look(fs: AbstractFileSystem, path: str) -> bool:
        fs.invalidate_cache()
        return bool(fs.isfile(path))

    return _tried(url, look)


def write_object(url: str, data: bytes) -> None:
    """Write an object; where the store can, as all object stores, it appears whole or not at all.

    Raises:
        StoreError: it cannot be written.
    """

    def put(fs: AbstractFileSystem, path: str) -> None:
        if _scheme(url) not in FLAT:
            fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        fs.pipe_file(path, data)

    try:
        _tried(url, put)
    except StoreError as error:
        reason = "there is no such place" if error.reason == NO_FILE else error.reason
        raise StoreError(url, f"cannot be written: {reason}", error.passing) from None
    _STAMPS.pop(url, None)


def remove_objects(urls: Iterable[str]) -> None:
    """Remove objects; one that is not there is none.

    Raises:
        StoreError: one cannot be removed.
    """

    def rm(fs: AbstractFileSystem, path: str) -> None:
        with suppress(FileNotFoundError):
            fs.rm_file(path)

    def one(url: str) -> None:
        _tried(url, rm)
        _STAMPS.pop(url, None)

    for _ in ahead(one, urls):
        pass


# ---------------------------------------------------------------------- trying, and giving up

NO_FILE = "no such file"

_STAMPS: dict[str, str] = {}
_FAILED: dict[str, int] = {}  # store -> objects in a row that could not be had
_COUNTING = threading.Lock()


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def _stamp(info: Mapping[str, object]) -> str:
    """Return ``size:tag`` of what a store says of an object."""
    for name in ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "created"):
        if info.get(name):
            return f"{info.get('size') or 0}:{str(info[name]).strip(chr(34))}"
    return f"{'' if info.get('size') is None else info['size']}:"


def _open(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of an address, and the path in it.

    Raises:
        MissingDependencyError: the package for it is not installed.
        UsageError: fsspec knows no such store.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise _needs(url) from None
    try:
        fs, path = url_to_fs(url)
        return fs, str(path)
    except ImportError as error:
        if _scheme(url) in EXTRAS:
            raise _needs(url) from None
        raise MissingDependencyError(f"{url} needs another package: {error}") from None
    except ValueError as error:
        raise UsageError(f"cannot open {url}: {error}; check the address") from None


def _needs(url: str) -> MissingDependencyError:
    extra = EXTRAS.get(_scheme(url), "stores")
    return MissingDependencyError(
        f"{url} needs a package that is not installed: pip install 'fiftyone-pseudomask[{extra}]'"
    )


def _tried(url: str, action: Callable[[AbstractFileSystem, str], T]) -> T:
    """Do something with a store; what may pass is tried again, ever later.

    Raises:
        StoreError: it did not work.
    """
    began = time.monotonic()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action(*_open(url))
        except PseudoMaskError:
            raise
        except Exception as error:  # stores' packages raise errors of their own, of any kind
            reason, passing = _reason(error), _may_pass(error)
        # the packages below wait and try again too
        if not passing or attempt == ATTEMPTS or time.monotonic() - began > PATIENCE_S:
            break
        time.sleep(FIRST_WAIT_S * 4 ** (attempt - 1) * (1 + random.random()))
    # not from the error: its text, in a traceback, may hold the address as it was signed
    raise StoreError(url, reason if not passing else f"{reason} ({attempt} attempts)", passing) from None


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error of a store's package holds."""
    for each in (error, error.__cause__):
        response = getattr(each, "response", None)
        metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
        for status in (getattr(each, "status", None), metadata.get("HTTPStatusCode")):
            if isinstance(status, int):
                return status
    return None


def _may_pass(error: BaseException) -> bool:
    if (status := _status(error)) is not None:
        return status >= 500 or status in (408, 425, 429)
    return not isinstance(error, LASTING) and not type(error).__name__.endswith("CredentialsError")


def _reason(error: BaseException) -> str:
    status = _status(error)
    if isinstance(error, FileNotFoundError) or status == 404:
        return NO_FILE
    if isinstance(error, PermissionError) or status in (401, 403):
        return "permission denied by the store; check its credentials"
    if type(error).__name__.endswith("CredentialsError"):
        return "no credentials for this store; give them as its own programs take them"
    if isinstance(error, NotImplementedError):
        return "this store does not offer that"
    if isinstance(error, TimeoutError):
        return "the store did not answer in time"
    text = " ".join(str(error).split())[:300] or type(error).__name__
    return f"cannot be reached or read: {text}"


def _noted(url: str, action: Callable[[], T]) -> T:
    """Do something with an object, and notice if its store is gone: a run would skip every image in turn."""
    store = url.partition("://")[2].partition("/")[0]
    try:
        result = action()
    except StoreError as error:
        with _COUNTING:
            failed = _FAILED.get(store, 0) + 1 if error.passing else 0
            _FAILED[store] = failed % GONE_AFTER
        if failed < GONE_AFTER:
            raise
        raise StoreGone(
            f"{_scheme(url)}://{store} does not answer any more ({error.reason}); what is done is "
            "kept, go on with --resume when it does"
        ) from None
    with _COUNTING:
        _FAILED[store] = 0
    return result
