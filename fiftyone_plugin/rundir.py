"""The folder of a run: settings, journal, masks; refused, resumed or restarted, never overwritten."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .common.files import is_partial, remove_empty, remove_inside, remove_partials, write_json
from .errors import UsageError
from .masks.files import write_mask
from .runs.cleaning import (
    CALIBRATION,
    EDITS,
    LOCK,
    refuse_links,
    remove_run_files,
    remove_work,
    run_files,
)
from .runs.record import RUN_FORMAT, read_record
from .runs.samples import NAMES, SampleRow, read_journal, read_samples, write_samples

__all__ = [
    "CALIBRATION",
    "EDITS",
    "LOCK",
    "NAMES",
    "RunDirectory",
    "SampleRow",
    "read_samples",
    "write_json",
    "write_mask",
]

LOCK_WAIT_S = 0.3


class RunDirectory:
    """Files of one run below ``root``.

    These are masks/, confidence/, exemplars/, model/, run.json, samples.csv, classes.json,
    contact_sheet.png and, where the number of classes was found, eigenvalues.png.

    While the run is not complete, ``.work`` holds a journal (one JSON line a finished image) and the arrays
    that methods keep; it is removed at the end.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.masks = root / "masks"
        self.confidence = root / "confidence"
        self.exemplars = root / "exemplars"
        self.model = root / "model"
        self.work = root / ".work"
        self._journal = self.work / "journal.jsonl"
        self._lock: Any = None
        self._made_root = False

    # ------------------------------------------------------------------ opening

    def reserve(self, *, resume: bool, restart: bool) -> None:
        """Take the folder before anything costly is done; changes no file of an earlier run.

        Args:
            resume: an unfinished run may be there.
            restart: any run may be there.

        Raises:
            UsageError: the folder holds another run, or other files where masks would go, or links, or is in
                use.
        """
        if resume and restart:
            raise UsageError("--resume and --restart exclude each other")
        refuse_links(self.root)
        self._made_root = not self.root.exists()
        try:
            self.work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {self.root}: {error.strerror or error}") from error
        self._take_lock()
        try:
            self._remove_partials()
            previous = self.read_run()
            if previous is None:
                self._refuse_foreign_files()
            elif not (resume or restart):
                self._refuse_run(previous)
        except BaseException:
            self.close()
            raise

    def open(self, settings: dict[str, Any], *, resume: bool, restart: bool) -> None:
        """Begin a run with these settings, or go on with it; reserves the folder if that was not done.

        Args:
            settings: all that the masks depend on (JSON-serialisable).
            resume: go on with an unfinished run of the same settings, or start if there is none.
            restart: remove what an earlier run wrote (and nothing else), then start.

        Raises:
            UsageError: as :meth:`reserve`, or the settings differ from those of the run to go on with.
        """
        if self._lock is None:
            self.reserve(resume=resume, restart=restart)
        try:
            previous = self.read_run()
            if previous is not None and restart:
                self.remove_outputs()
            elif previous is not None:
                self._check_resumable(previous, settings)
            if previous is None or restart:
                self.write_run({"format": RUN_FORMAT, "status": "running", "settings": settings})
        except BaseException:
            self.close()
            raise

    def _remove_partials(self) -> None:
        """Remove what a killed process was writing; the lock is held, so nobody is writing now."""
        for folder in (self.masks, self.confidence, self.exemplars, self.model, self.work):
            remove_partials(folder)
        for path in self.root.iterdir():
            if is_partial(path.name):
                path.unlink(missing_ok=True)

    def _refuse_foreign_files(self) -> None:
        foreign = [path for path in run_files(self.root) if path.exists()]
        foreign += [
            folder
            for folder in (self.masks, self.confidence, self.exemplars)
            if folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
        ]
        if foreign:
            raise UsageError(f"{foreign[0]} was not written by a run of this command; choose another --out")

    def _refuse_run(self, previous: dict[str, Any]) -> None:
        complete = previous.get("status") == "complete"
        state = "a finished run" if complete else "an unfinished run"
        advice = "" if complete else "--resume to go on with it, "
        raise UsageError(f"{self.root} holds {state}; use {advice}--restart to replace it, or another --out")

    def _check_resumable(self, previous: dict[str, Any], settings: dict[str, Any]) -> None:
        changed = _differences(previous["settings"], json.loads(json.dumps(settings)))
        if changed:
            raise UsageError(
                f"cannot resume {self.root}: {'; '.join(changed[:4])}. Use the same settings, or --restart"
            )

    def _take_lock(self) -> None:
        from filelock import FileLock, Timeout

        self._lock = FileLock(str(self.work / LOCK))
        try:
            # not at once: somebody may be asking at this moment whether the lock is held
            self._lock.acquire(timeout=LOCK_WAIT_S)
        except Timeout as error:
            self._lock = None
            raise UsageError(
                f"another process is writing to {self.root}; wait for it or choose another --out"
            ) from error

    def close(self) -> None:
        """Give the folder free; of a run that never started, what was made for it is removed."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        if self.work.is_dir() and all(path.name == LOCK for path in self.work.iterdir()):
            shutil.rmtree(self.work, ignore_errors=True)
            if self._made_root:
                remove_empty(self.root)

    def remove_outputs(self) -> None:
        """Remove the files that a run wrote here, and folders that this leaves empty; nothing else.

        Raises:
            UsageError: the table that lists the files cannot be read; nothing was removed.
        """
        remove_run_files(self.root, self._recorded())

    def remove_if_empty(self) -> None:
        """Remove the folder if nothing is left in it but this class's own working files."""
        remove_work(self.root)
        if not self.work.is_symlink():
            remove_inside(self.root, f"{self.work.name}/{LOCK}")
        remove_empty(self.work)
        with suppress(OSError):  # something is left, or it was never there
            self.root.rmdir()

    # ------------------------------------------------------------------ reading and writing

    @property
    def samples_csv(self) -> Path:
        """Path of ``samples.csv``."""
        return self.root / "samples.csv"

    def read_run(self) -> dict[str, Any] | None:
        """Return ``run.json``, checked, or ``None`` where there is none.

        Raises:
            UsageError: it cannot be read, or is not the record of a run.
        """
        path = self.root / "run.json"
        return read_record(path) if os.path.lexists(path) else None

    def write_run(self, document: dict[str, Any]) -> None:
        """Write ``run.json``, whole or not at all."""
        write_json(self.root / "run.json", document)

    def write_classes(self, names: dict[int, str]) -> None:
        """Write ``classes.json``: class id -> name."""
        write_json(self.root / "classes.json", {str(k): v for k, v in names.items()}, sort_keys=False)

    def finished(self) -> Iterator[SampleRow]:
        """Yield the rows whose mask is there: the journal's, or the table's where a run is complete."""
        for row in self._recorded():
            if row.mask and (self.masks / row.mask).is_file():
                yield row

    def _recorded(self) -> Iterator[SampleRow]:
        """Yield the rows of the table of a complete run, then those of the journal."""
        if os.path.lexists(self.samples_csv):
            yield from read_samples(self.samples_csv)
        yield from read_journal(self._journal)

    def append(self, rows: Iterable[SampleRow]) -> None:
        """Add rows to the journal; call it before the masks are written, so that none goes unrecorded."""
        with self._journal.open("a", encoding="utf-8") as file:
            for row in rows:
                # the line break comes first: it ends a line that a crash has cut short
                file.write("\n" + json.dumps(asdict(row)))

    def write_samples(self, rows: Iterable[SampleRow]) -> None:
        """Write ``samples.csv``, a row an image."""
        write_samples(self.samples_csv, rows)

    def finish(self) -> None:
        """Remove the working files of a complete run."""
        remove_work(self.root)
        self.close()


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Describe where two settings differ, one phrase each."""
    found: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key} was {a!r}, now {b!r}")
    return found
