"""An export into a store: made in a local folder, then uploaded, its record last."""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..common.remote import READERS, folder_of, join_url, listing, read_object, remove_objects, url_of
from ..common.remote import write_object as write
from ..errors import UsageError
from ..images.left_out import is_export_record
from .staging import FILES, RECORD, ExportFolder

__all__ = ["StoreFolder", "export_folder"]


def export_folder(
    out: str | Path, *, overwrite: bool = False, sources: tuple[Path, ...] = ()
) -> ExportFolder | StoreFolder:
    """Return the context in which an export is written to ``out``, on the disk or in a store."""
    url = url_of(out)
    if url is None:
        return ExportFolder(Path(out), overwrite=overwrite, sources=sources)
    return StoreFolder(url, overwrite=overwrite)


class StoreFolder:
    """A context like :class:`~.staging.ExportFolder`: a local folder, uploaded if all goes well.

    The record comes last. An upload that was interrupted has none, and is not replaced by another export.

    Attributes:
        out: address of the export.
        path: the folder to write to.
    """

    def __init__(self, url: str, *, overwrite: bool) -> None:
        self.out = folder_of(url)
        self.overwrite = overwrite
        self._url = url.rstrip("/")
        self._folder = tempfile.TemporaryDirectory(prefix="pseudomask-export-")
        self.path = Path(self._folder.name) / "export"
        self._before: set[str] = set()

    def __enter__(self) -> StoreFolder:
        """Check the target.

        Raises:
            UsageError: it is taken.
        """
        self._before = self._check()
        self.path.mkdir()
        return self

    def commit(self) -> None:
        """Upload the folder, and remove what an earlier export has left.

        Raises:
            StoreError: the store does not let us.
        """
        names = {path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file()}
        record = json.loads((self.path / RECORD).read_text(encoding="utf-8"))
        (self.path / RECORD).write_text(json.dumps({**record, FILES: len(names)}, indent=2) + "\n", "utf-8")
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
        write(self._at(name), (self.path / name).read_bytes())

    def _check(self) -> set[str]:
        """Return the files of an earlier export.

        Raises:
            UsageError: there are others, or it is not to be replaced.
        """
        there = {name for name in listing(self._url) if not name.rpartition("/")[2].startswith(".")}
        if not there:
            return there
        record: Any = None
        if RECORD in there:
            try:
                record = json.loads(read_object(self._at(RECORD)))
            except ValueError:
                record = None
        if not isinstance(record, dict) or not is_export_record(record):
            raise UsageError(f"{self._url} holds files that no export wrote; choose another folder")
        if not self.overwrite:
            raise UsageError(f"{self._url} holds an export; choose another folder, or overwrite it")
        written = record.get(FILES)
        if not isinstance(written, int) or len(there) > written:
            raise UsageError(
                f"{self._url} holds {len(there)} files, and the export wrote {written}: move yours away"
            )
        return there
