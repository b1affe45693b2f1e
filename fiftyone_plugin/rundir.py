"""The folder of a run: settings, journal, masks; refused, resumed or restarted, never overwritten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .common.files import is_partial, remove_empty, remove_partials, write_json
from .errors import UsageError
from .masks.files import write_mask
from .runs.samples import NAMES, SampleRow, parse_row, read_samples, write_samples

__all__ = ["EDITS", "NAMES", "RunDirectory", "SampleRow", "read_samples", "write_json", "write_mask"]

RUN_FORMAT = 1
LOCK = "lock"
LOCK_WAIT_S = 0.3
EDITS = "edits"  # folder of masks that a person has edited, see fiftyone_plugin.editing
PICTURES = ("contact_sheet.png", "eigenvalues.png")
CALIBRATION = ("calibration.json", "expected_iou.csv", "filtering.png")
"""What `pseudomask evaluate --calibrate` adds to a run."""


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
            UsageError: the folder holds another run, or other files where masks would go, or is in use.
        """
        if resume and restart:
            raise UsageError("--resume and --restart exclude each other")
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
        foreign = [path for path in self._outputs() if path.exists()]
        foreign += [
            folder
            for folder in (self.masks, self.confidence, self.exemplars)
            if folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
        ]
        if foreign:
            raise UsageError(f"{foreign[0]} was not written by a run of this command; choose another --out")

    def _outputs(self) -> list[Path]:
        """Every file that a run writes, but for the masks and run.json."""
        return [
            *(self.root / name for name in ("samples.csv", "classes.json", *PICTURES, *CALIBRATION)),
            *(self.model / name for name in ("method.json", "arrays.safetensors", "pipeline.json")),
        ]

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
        """Remove the files that a run wrote here, and folders that this leaves empty; nothing else."""
        for row in self._recorded():
            for folder in (self.masks, self.confidence) if row.mask else ():
                (folder / row.mask).unlink(missing_ok=True)
        for path in self._outputs():
            path.unlink(missing_ok=True)
        for path in self.exemplars.glob("class_[0-9]*.jpg*"):
            path.unlink()
        self._journal.unlink(missing_ok=True)
        self._remove_edits()
        for name in ("memo", "fit"):
            shutil.rmtree(self.work / name, ignore_errors=True)
        for folder in (self.model, self.masks, self.confidence, self.exemplars):
            remove_empty(folder)
        # last: without it, what an interruption here leaves would be taken for somebody else's
        (self.root / "run.json").unlink(missing_ok=True)

    def _remove_edits(self) -> None:
        """Remove what edits have written, see :mod:`fiftyone_plugin.editing.run`."""
        for record in (self.root / EDITS).glob("*/edit.json"):
            shutil.rmtree(record.parent, ignore_errors=True)
        (self.root / EDITS / LOCK).unlink(missing_ok=True)
        remove_empty(self.root / EDITS)

    def remove_if_empty(self) -> None:
        """Remove the folder if nothing is left in it but this class's own working files."""
        shutil.rmtree(self.work, ignore_errors=True)
        if self.root.is_dir() and not any(self.root.iterdir()):
            self.root.rmdir()

    # ------------------------------------------------------------------ reading and writing

    @property
    def samples_csv(self) -> Path:
        """Path of ``samples.csv``."""
        return self.root / "samples.csv"

    def read_run(self) -> dict[str, Any] | None:
        """Return ``run.json``, or ``None`` where there is none.

        Raises:
            UsageError: it cannot be read.
        """
        path = self.root / "run.json"
        if not path.exists():
            return None
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{path} cannot be read ({error}); move it away or choose another --out"
            ) from error
        if not isinstance(document, dict) or not isinstance(document.get("settings"), dict):
            raise UsageError(f"{path} is not the record of a run; choose another --out")
        if document.get("format") != RUN_FORMAT:
            raise UsageError(
                f"{path} was written in format {document.get('format')}, this version reads {RUN_FORMAT}; "
                f"choose another --out"
            )
        return document

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
        if self.samples_csv.is_file():
            yield from read_samples(self.samples_csv)
        if not self._journal.is_file():
            return
        with self._journal.open(encoding="utf-8") as file:
            yield from filter(None, map(parse_row, file))

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
        for path in self.work.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK:
                path.unlink(missing_ok=True)
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
