"""Files that appear whole or not at all, and paths that stay where they belong."""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from ..errors import PseudoMaskError, UsageError
from .remote import url_of

__all__ = ["atomic", "inside", "is_below", "is_partial", "is_safe_name", "real_path", "remove_empty"]
__all__ += ["remove_file", "remove_inside", "remove_partials", "require_inside", "write_json"]

_PARTIAL = re.compile(r"\.pseudomask-\d+-[0-9a-f]{8}\.partial")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield the name to write to; at the end of the block that file takes the place of ``path``.

    The name is short whatever ``path`` is called, lies in the same folder and is no other process's, so that
    two attempts at one file never write into each other. If the block raises, the file is removed and
    ``path`` stays as it was. After a kill :func:`remove_partials` finds it.

    Raises:
        OSError: the file system refuses.
    """
    partial = path.with_name(f".pseudomask-{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def is_partial(name: str) -> bool:
    """Tell whether a file of this name is one that :func:`atomic` was writing."""
    return _PARTIAL.fullmatch(name) is not None


def remove_partials(folder: Path) -> int:
    """Remove what :func:`atomic` left below ``folder`` when its process was killed; links are not followed.

    Call it only where nobody else writes, e.g. with the folder's lock held. Returns the number of files.
    """
    removed = 0
    for parent, _, names in os.walk(folder):
        for name in filter(is_partial, names):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(parent, name))
                removed += 1
    return removed


def write_json(path: Path, document: object, *, sort_keys: bool = True) -> None:
    """Write a JSON file, whole or not at all.

    Raises:
        PseudoMaskError: it cannot be written.
    """
    try:
        with atomic(path) as partial:
            text = json.dumps(document, indent=2, sort_keys=sort_keys, allow_nan=False)
            partial.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise PseudoMaskError(f"cannot write {path}: {error.strerror or error}") from error


def is_safe_name(name: str) -> bool:
    """Return whether a relative path stays below the folder it is joined to, on POSIX and on Windows.

    Links on the disk are another matter: :func:`inside` looks at those.
    """
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    absolute = posix.is_absolute() or windows.drive or windows.root
    return bool(posix.parts) and not absolute and ".." not in windows.parts and "\0" not in name


def is_below(name: str) -> bool:
    """Return whether a relative path stays below the folder it is joined to, on this machine.

    Less strict than :func:`is_safe_name`: ``8:30.png`` is a file on Linux, and on a drive on Windows.
    """
    path = PurePath(name)
    return bool(path.parts) and not path.anchor and ".." not in path.parts and "\0" not in name


def real_path(path: str | os.PathLike[str]) -> str:
    """Return where a path leads through links; a path that no file system takes is returned as it is.

    So is an address in a store.
    """
    if (url := url_of(path)) is not None:
        return url.rstrip("/")
    try:
        return os.path.realpath(path)
    except ValueError:  # a null byte
        return os.fspath(path)


def inside(root: Path, name: str) -> Path | None:
    """Return ``root / name`` if that lies below ``root``, else ``None``.

    A name that a file of a stranger gave may be absolute, climb with ``..``, or pass through a folder that is
    a link to somewhere else. ``root`` itself may be reached through links, and the last part may be a link:
    removing it removes the link.
    """
    if not is_below(name):
        return None
    path = root / name
    try:
        real_root, real_parent = os.path.realpath(root), os.path.realpath(path.parent)
    except (OSError, ValueError):
        return None
    return path if os.path.commonpath([real_root, real_parent]) == real_root else None


def remove_inside(root: Path, name: str) -> bool:
    """Remove the file or link ``root / name`` if it lies below ``root``; returns whether one was removed."""
    path = inside(root, name)
    return path is not None and remove_file(path)


def remove_file(path: Path) -> bool:
    """Remove a file or a link, and nothing else; returns whether there was one."""
    try:
        mode = os.lstat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            return False
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def remove_empty(folder: Path) -> None:
    """Remove ``folder`` and folders below it as far as they are empty; links to folders are left alone."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for parent, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # not empty, or filled at this moment
            os.rmdir(parent)


def require_inside(root: Path, name: str, what: str) -> Path:
    """Return :func:`inside`, or raise.

    Raises:
        UsageError: the path leads out of ``root``.
    """
    if (path := inside(root, name)) is None:
        raise UsageError(f"{what} names a path that leads out of {root}: {name!r}")
    return path
