"""Writing an export: to a temporary folder beside the target, moved there at the end, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from ..errors import PseudoMaskError, UsageError

__all__ = ["RECORD", "ExportFolder", "JsonDocument", "WriteError", "is_safe_name", "writing"]

RECORD = "export.json"  # tells an export's folder from others
NAMES = "surrogateescape"  # file names on Linux need not be UTF-8


class WriteError(PseudoMaskError):
    """The target cannot be written, e.g. the disk is full: ends an export, where a bad image does not."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the file system into a :class:`WriteError` that names ``path``."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}; nothing was exported") from error


def is_safe_name(name: str) -> bool:
    """Return whether a relative path stays below the folder it is joined to, on POSIX and on Windows."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    absolute = posix.is_absolute() or windows.drive or windows.root
    return bool(posix.parts) and not absolute and ".." not in windows.parts and "\0" not in name


class ExportFolder:
    """A context: a temporary folder that becomes ``out`` if all goes well, and is removed if not.

    Attributes:
        out: the target.
        path: the temporary folder, on the same file system.
    """

    def __init__(self, out: Path, *, overwrite: bool = False, sources: tuple[Path, ...] = ()) -> None:
        self.out = Path(os.path.abspath(out))
        self.overwrite = overwrite
        self.sources = sources
        self.path = self.out
        self._made: Path | None = None

    def __enter__(self) -> ExportFolder:
        """Check the target and make the temporary folder.

        Raises:
            UsageError: the target is taken, would replace its own source, or cannot be written to.
        """
        self.check()
        parent = self.out.parent
        missing = [p for p in (parent, *parent.parents) if not p.exists()]
        self._made = missing[-1] if missing else None
        try:
            parent.mkdir(parents=True, exist_ok=True)
            path = self._beside("partial")
            path.mkdir()
            self.path = path
        except OSError as error:
            self._remove_parents()
            raise UsageError(f"cannot write to {parent}: {error.strerror or error}") from error
        return self

    def check(self) -> None:
        """Refuse a target that is taken.

        Raises:
            UsageError: it is a mount point; or it holds files, and ``overwrite`` was not asked for, no export
                wrote them, or they are what is to be exported.
        """
        if not self.out.exists() and not self.out.is_symlink():
            return
        if not self.out.is_dir():
            raise UsageError(f"{self.out} is a file; choose another folder for the export")
        if os.path.ismount(self.out):  # it cannot be replaced by a rename
            raise UsageError(f"{self.out} is a mount point; choose a folder inside it")
        if not any(self.out.iterdir()):
            return
        if not (self.out / RECORD).is_file():
            raise UsageError(f"{self.out} holds files that no export wrote; choose another folder")
        if not self.overwrite:
            raise UsageError(f"{self.out} holds an export; choose another folder, or overwrite it")
        real = self.out.resolve()
        for source in self.sources:
            if real == source.resolve() or real in source.resolve().parents:
                raise UsageError(f"{self.out} holds what is to be exported; choose another folder")

    def commit(self) -> None:
        """Move the temporary folder to the target; an earlier export is removed once that is done."""
        self.check()  # somebody may have come in between
        with writing(self.out):
            if not self.out.exists():
                self.path.rename(self.out)
                return
            old = self._beside("old")
            self.out.rename(old)
            try:
                self.path.rename(self.out)
            except OSError:
                old.rename(self.out)
                raise
        shutil.rmtree(old, ignore_errors=True)

    def _beside(self, what: str) -> Path:
        """Return a new hidden name beside the target."""
        return self.out.with_name(f".{self.out.name}.{uuid.uuid4().hex[:8]}.{what}")

    def __exit__(self, *_: object) -> None:
        if self.path != self.out:
            shutil.rmtree(self.path, ignore_errors=True)
        self._remove_parents()

    def _remove_parents(self) -> None:
        """Remove the folders that were made for the target, if they stayed empty."""
        if self._made is None or self.out.exists():
            return
        folder = self.out.parent
        with contextlib.suppress(OSError):
            while folder != self._made.parent:
                folder.rmdir()
                folder = folder.parent


class JsonDocument:
    """A JSON object whose lists grow entry by entry, in a file each, and never lie in memory.

    Args:
        path: the file to write.
        head: members that are known from the start.
        lists: names of the lists, in the order they will have.
    """

    def __init__(self, path: Path, head: dict[str, Any], lists: tuple[str, ...]) -> None:
        self.path = path
        self.head = head
        self._files: dict[str, IO[str]] = {}
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            for name in lists:
                self._files[name] = self._part(name).open("w+", encoding="utf-8", errors=NAMES)
        self._empty = dict.fromkeys(lists, True)

    def _part(self, name: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{name}.part")

    def add(self, name: str, entry: str) -> None:
        """Add an entry, as JSON text, to a list."""
        with writing(self.path):
            self._files[name].write(("" if self._empty[name] else ",\n") + entry)
        self._empty[name] = False

    def close(self) -> None:
        """Put the file together and remove its parts."""
        with writing(self.path):
            with self.path.open("w", encoding="utf-8", errors=NAMES) as out:
                out.write("{")
                out.write(
                    ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in self.head.items())
                )
                for index, (name, file) in enumerate(self._files.items()):
                    out.write((",\n" if self.head or index else "") + f"{json.dumps(name)}: [\n")
                    file.seek(0)
                    shutil.copyfileobj(file, out, 1 << 20)
                    out.write("\n]")
                out.write("}\n")
            for name in self._files:
                self._files[name].close()
                self._part(name).unlink()

    def abandon(self) -> None:
        """Close the parts without writing the file."""
        for file in self._files.values():
            with contextlib.suppress(OSError, ValueError):
                file.close()
