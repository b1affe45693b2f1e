"""Writing an export: to a hidden folder beside the target, moved there at the end, whole or not at all.

What goes into a store is made in a local folder, then uploaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..common.exchange import exchange
from ..common.files import write_json
from ..common.remote import (
    READERS,
    folder_of,
    join_url,
    listing,
    read_object,
    remove_objects,
    url_of,
    write_object,
)
from ..common.untrusted import read_json
from ..common.workshop import Busy, Workshop, settle
from ..errors import PseudoMaskError, UsageError
from ..images.left_out import EXPORT_RECORD, is_export_folder, is_export_record

__all__ = ["NAMES", "RECORD", "ExportFolder", "JsonDocument", "WriteError", "export_folder", "writing"]

RECORD = EXPORT_RECORD
FILES = "files"  # how many there are, in that record
NAMES = "surrogateescape"  # file names on Linux need not be UTF-8


class WriteError(PseudoMaskError):
    """The target cannot be written, e.g. the disk is full: ends an export, where a bad image does not."""


@contextmanager
def writing(path: Path, *, make_folder: bool = False) -> Iterator[None]:
    """Turn errors of the file system into a :class:`WriteError` that names ``path``, what is written."""
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}; nothing was exported") from error


class ExportFolder:
    """A context: a hidden folder beside ``out`` that takes its place if all goes well, and is removed if not.

    A killed process leaves ``out`` as it was, or whole and new; what else it leaves is put right by whoever
    writes or reads there next, see :mod:`~fiftyone_plugin.common.workshop`.

    Attributes:
        out: the target.
        path: the folder to write to, on the same file system.
    """

    def __init__(self, out: Path, overwrite: bool = False, sources: tuple[Path, ...] = ()) -> None:
        self.path = self.out = Path(os.path.abspath(out))
        self.overwrite, self.sources = overwrite, sources
        self._workshop = Workshop(self.out)
        self._made: Path | None = None

    def __enter__(self) -> ExportFolder:
        """Check the target and make the folder to write to.

        Raises:
            UsageError: the target is taken, would replace its own source, is being written to by another
                process, or cannot be written to.
        """
        self.check()
        parent = self._workshop.path.parent
        missing = [p for p in (parent, *parent.parents) if not p.exists()]
        self._made = missing[-1] if missing else None
        try:
            parent.mkdir(parents=True, exist_ok=True)
            self._workshop.acquire()
            self._workshop.new.mkdir()
        except Busy:
            raise UsageError(
                f"another export or import is writing to {self.out}; wait for it, or choose another folder"
            ) from None
        except OSError as error:
            self._leave()
            raise UsageError(f"cannot write to {parent}: {error.strerror or error}") from error
        self.path = self._workshop.new
        return self

    def check(self) -> None:
        """Refuse a target that is taken, after putting right what a killed export left there.

        Raises:
            UsageError: it is a mount point; or it holds files, and ``overwrite`` was not asked for, no export
                wrote them, or they are what is to be exported; or it cannot be looked at.
        """
        settle(self.out)
        try:
            self._check()
        except OSError as error:  # e.g. a name that is too long
            raise UsageError(f"cannot write to {self.out}: {error.strerror or error}") from error

    def _check(self) -> None:
        if not self.out.exists() and not self.out.is_symlink():
            return
        if not self.out.is_dir():
            raise UsageError(f"{self.out} is a file; choose another folder for the export")
        if os.path.ismount(self.out):  # it cannot be replaced by a rename
            raise UsageError(f"{self.out} is a mount point; choose a folder inside it")
        if not any(self.out.iterdir()):
            return
        if not is_export_folder(str(self.out)):
            raise UsageError(f"{self.out} holds files that no export wrote; choose another folder")
        if not self.overwrite:
            raise UsageError(f"{self.out} holds an export; choose another folder, or overwrite it")
        real = self.out.resolve()
        for source in self.sources:
            if real == source.resolve() or real in source.resolve().parents:
                raise UsageError(f"{self.out} holds what is to be exported; choose another folder")
        written = read_json(self.out / RECORD, what="the record of an export").get(FILES)
        there = sum(1 for _ in _files(self.out))
        if isinstance(written, int) and there > written:  # the others are somebody's
            raise UsageError(
                f"{self.out} holds {there} files, and the export wrote {written}: move yours somewhere else, "
                "or choose another folder"
            )

    def commit(self) -> None:
        """Move the folder to the target; an earlier export is removed once that is done."""
        self.check()  # somebody may have come in between
        path = self.path / RECORD
        if path.is_file():
            record = read_json(path, what="the record of an export")
            write_json(path, {**record, FILES: sum(1 for _ in _files(self.path))}, sort_keys=False)
        new, target = self._workshop.new, self._workshop.target
        with writing(self.out):
            if not target.exists():
                os.rename(new, target)
            elif not exchange(new, target):
                os.rename(target, self._workshop.old)  # a kill before the next step is put right
                try:
                    os.rename(new, target)
                except OSError:
                    os.rename(self._workshop.old, target)
                    raise

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        """Remove the folder, and the folders that were made for the target if they stayed empty."""
        self._workshop.close()
        if self._made is None or self.out.exists():
            return
        folder = self._workshop.path.parent
        with contextlib.suppress(OSError):
            while folder != self._made.parent:
                folder.rmdir()
                folder = folder.parent


def _files(folder: Path) -> Iterator[str]:
    """Yield the names of the files and links in an export.

    Left out is what programs leave in folders that they read: hidden files, and YOLO's ``train.cache``.
    """
    for parent, folders, names in os.walk(folder):
        links = (name for name in folders if os.path.islink(os.path.join(parent, name)))
        yield from (n for n in (*names, *links) if not n.startswith(".") and not n.endswith(".cache"))


def export_folder(
    out: str | Path, *, overwrite: bool, sources: tuple[Path, ...]
) -> ExportFolder | StoreFolder:
    """Return the context in which an export is written to ``out``, on the disk or in a store."""
    url = url_of(out)
    return ExportFolder(Path(out), overwrite, sources) if url is None else StoreFolder(url, overwrite)


class StoreFolder:
    """A context like :class:`ExportFolder`: a local folder, uploaded if all goes well.

    The record comes last. An upload that was interrupted has none, and is not replaced by another export.

    Attributes:
        out: address of the export.
        path: the folder to write to.
    """

    def __init__(self, url: str, overwrite: bool) -> None:
        self.out = folder_of(url)
        self.overwrite = overwrite
        self._url = url.rstrip("/")
        self._folder = tempfile.TemporaryDirectory(prefix="pseudomask-export-")
        self.path = Path(self._folder.name) / "export"

    def __enter__(self) -> StoreFolder:
        """Check the target.

        Raises:
            UsageError: it holds files that no export wrote, or an export that is not to be replaced.
        """
        self._before = {name for name in listing(self._url) if not name.rpartition("/")[2].startswith(".")}
        if self._before:
            self._check()
        self.path.mkdir()
        return self

    def _check(self) -> None:
        record: object = None
        if RECORD in self._before:
            with contextlib.suppress(ValueError):
                record = json.loads(read_object(self._at(RECORD)))
        if not isinstance(record, dict) or not is_export_record(record):
            raise UsageError(f"{self._url} holds files that no export wrote; choose another folder")
        if not self.overwrite:
            raise UsageError(f"{self._url} holds an export; choose another folder, or overwrite it")
        written = record.get(FILES)
        if not isinstance(written, int) or len(self._before) > written:
            raise UsageError(
                f"{self._url} holds {len(self._before)} files, and the export wrote {written}: "
                "move yours away"
            )

    def commit(self) -> None:
        """Upload the folder, and remove what an earlier export has left.

        Raises:
            StoreError: the store does not let us.
        """
        names = {path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file()}
        record = json.loads((self.path / RECORD).read_text(encoding="utf-8"))
        write_json(self.path / RECORD, {**record, FILES: len(names)}, sort_keys=False)
        remove_objects([self._at(RECORD)] if RECORD in self._before else [])
        with ThreadPoolExecutor(READERS, thread_name_prefix="upload") as pool:
            for _ in pool.map(self._push, sorted(names - {RECORD})):
                pass
        remove_objects(map(self._at, sorted(self._before - names)))
        self._push(RECORD)

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def _at(self, name: str) -> str:
        return join_url(self._url, name)

    def _push(self, name: str) -> None:
        write_object(self._at(name), (self.path / name).read_bytes())


class JsonDocument:
    """A JSON object whose lists grow entry by entry, in a file each, and never lie in memory.

    They follow members that are known from the start, at least one, in the order of their names.
    """

    def __init__(self, path: Path, head: Mapping[str, object], lists: tuple[str, ...]) -> None:
        self.path, self.head = path, head
        self._files: dict[str, IO[str]] = {}
        self._open = contextlib.ExitStack()
        with writing(path, make_folder=True):
            for name in lists:
                part = tempfile.TemporaryFile("w+", encoding="utf-8", errors=NAMES, dir=path.parent)  # noqa: SIM115
                self._files[name] = self._open.enter_context(part)
        self._empty = dict.fromkeys(lists, True)

    def add(self, name: str, entry: str) -> None:
        """Add an entry, as JSON text, to a list."""
        with writing(self.path):
            self._files[name].write(("" if self._empty[name] else ",\n") + entry)
        self._empty[name] = False

    def close(self) -> None:
        """Put the file together."""
        with writing(self.path):
            with self.path.open("w", encoding="utf-8", errors=NAMES) as out:
                members = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in self.head.items())
                out.write("{" + ",\n".join(members))
                for name, file in self._files.items():
                    out.write(f",\n{json.dumps(name)}: [\n")
                    file.seek(0)
                    shutil.copyfileobj(file, out, 1 << 20)
                    out.write("\n]")
                out.write("}\n")
            self._open.close()

    def abandon(self) -> None:
        """Close the parts without writing the file."""
        with contextlib.suppress(OSError, ValueError):
            self._open.close()
