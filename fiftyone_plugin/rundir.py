"""The folder of a run: settings, journal, masks; refused, resumed or restarted, never overwritten."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .errors import PseudoMaskError, UsageError

__all__ = ["RunDirectory", "SampleRow", "read_samples", "write_mask"]

RUN_FORMAT = 1


@dataclass
class SampleRow:
    """What became of one image; a row of ``samples.csv``.

    Attributes:
        image: key of the image, its path below the source folder.
        mask: path of the mask below ``masks/``, empty where there is none.
        status: ``labelled`` or ``skipped``.
        width: native width in pixels, 0 if unknown.
        height: native height in pixels, 0 if unknown.
        classes: class ids present, ascending, joined by spaces.
        coverage: share of pixels that are not 0, in [0, 1].
        seconds: time spent on prediction and writing.
        error: why the image was skipped.
    """

    image: str
    mask: str = ""
    status: str = "labelled"
    width: int = 0
    height: int = 0
    classes: str = ""
    coverage: float = 0.0
    seconds: float = 0.0
    error: str = ""

    @property
    def class_ids(self) -> list[int]:
        """Class ids present, ascending."""
        return [int(value) for value in self.classes.split()]


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write an (H, W) mask of class ids as a single-channel PNG: uint8, or uint16 if an id exceeds 255.

    The file appears whole or not at all.

    Raises:
        UsageError: an id is negative or above 65,535.
    """
    low, high = int(mask.min()), int(mask.max())
    if low < 0 or high > 65_535:
        raise UsageError(f"{path}: class ids must be within 0..65535, got {low}..{high}")
    dtype: type = np.uint8 if high <= 255 else np.uint16
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    Image.fromarray(mask.astype(dtype)).save(partial, format="PNG")
    partial.replace(path)


def read_samples(path: Path) -> list[SampleRow]:
    """Read a ``samples.csv``."""
    types = {"width": int, "height": int, "coverage": float, "seconds": float}
    with path.open(newline="", encoding="utf-8") as file:
        return [
            SampleRow(**{k: types.get(k, str)(v) for k, v in row.items()}) for row in csv.DictReader(file)
        ]


class RunDirectory:
    """Files of one run below ``root``.

    These are masks/, model/, run.json, samples.csv, classes.json and contact_sheet.png.

    While the run is not complete, ``.work`` holds a journal (one JSON line a finished image) and the arrays
    that methods keep; it is removed at the end.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.masks = root / "masks"
        self.model = root / "model"
        self.work = root / ".work"
        self._journal = self.work / "journal.jsonl"
        self._lock: Any = None

    # ------------------------------------------------------------------ opening

    def open(self, settings: dict[str, Any], *, resume: bool, restart: bool) -> None:
        """Take the folder for a run with these settings.

        Args:
            settings: all that the masks depend on (JSON-serialisable).
            resume: go on with an unfinished run of the same settings, or start if there is none.
            restart: remove what an earlier run wrote (and nothing else), then start.

        Raises:
            UsageError: the folder holds another run, or other files where masks would go, or is in use.
        """
        if resume and restart:
            raise UsageError("--resume and --restart exclude each other")
        try:
            self.work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {self.root}: {error.strerror or error}") from error
        self._take_lock()
        previous = self.read_run()
        if previous is None and self.masks.is_dir() and any(self.masks.iterdir()):
            self.close()
            raise UsageError(
                f"{self.masks} holds files that no run of this command wrote; choose another --out"
            )
        if previous is not None and restart:
            self.remove_outputs()
        elif previous is not None:
            self._check_resumable(previous, settings, resume)
        if previous is None or restart:
            self.write_run({"format": RUN_FORMAT, "status": "running", "settings": settings})

    def _check_resumable(self, previous: dict[str, Any], settings: dict[str, Any], resume: bool) -> None:
        complete = previous.get("status") == "complete"
        if not resume:
            self.close()
            state = "a finished run" if complete else "an unfinished run"
            advice = "" if complete else "--resume to go on with it, "
            raise UsageError(
                f"{self.root} holds {state}; use {advice}--restart to replace it, or another --out"
            )
        changed = _differences(previous.get("settings", {}), json.loads(json.dumps(settings)))
        if changed:
            self.close()
            raise UsageError(
                f"cannot resume {self.root}: {'; '.join(changed[:4])}. Use the same settings, or --restart"
            )

    def _take_lock(self) -> None:
        from filelock import FileLock, Timeout

        self._lock = FileLock(str(self.work / "lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            self._lock = None
            raise UsageError(
                f"another process is writing to {self.root}; wait for it or choose another --out"
            ) from error

    def close(self) -> None:
        """Give the folder free; an empty ``.work`` of a run that never started is removed."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        if self.work.is_dir() and all(p.name == "lock" for p in self.work.iterdir()):
            shutil.rmtree(self.work, ignore_errors=True)

    def remove_outputs(self) -> None:
        """Remove the files that a run wrote here, and folders that this leaves empty; nothing else."""
        for row in [
            *self.finished(),
            *(read_samples(self.samples_csv) if self.samples_csv.is_file() else []),
        ]:
            if row.mask:
                (self.masks / row.mask).unlink(missing_ok=True)
        for name in ("run.json", "samples.csv", "classes.json", "contact_sheet.png"):
            (self.root / name).unlink(missing_ok=True)
        for name in ("method.json", "arrays.safetensors", "pipeline.json"):
            (self.model / name).unlink(missing_ok=True)
        self._journal.unlink(missing_ok=True)
        shutil.rmtree(self.work / "memo", ignore_errors=True)
        for folder in (self.model, self.masks):
            _remove_empty(folder)

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
        if not isinstance(document, dict):
            raise UsageError(f"{path} is not the record of a run; choose another --out")
        return document

    def write_run(self, document: dict[str, Any]) -> None:
        """Write ``run.json``, whole or not at all."""
        _write_text(self.root / "run.json", json.dumps(document, indent=2, sort_keys=True) + "\n")

    def write_classes(self, names: dict[int, str]) -> None:
        """Write ``classes.json``: class id -> name."""
        _write_text(
            self.root / "classes.json", json.dumps({str(k): v for k, v in names.items()}, indent=1) + "\n"
        )

    def finished(self) -> Iterator[SampleRow]:
        """Yield the journal's rows whose mask is there; a line cut short by a crash is ignored."""
        if not self._journal.is_file():
            return
        with self._journal.open(encoding="utf-8") as file:
            for line in file:
                try:
                    row = SampleRow(**json.loads(line))
                except (ValueError, TypeError):
                    continue
                if row.mask and (self.masks / row.mask).is_file():
                    yield row

    def append(self, rows: Iterable[SampleRow]) -> None:
        """Add rows to the journal."""
        with self._journal.open("a", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(asdict(row)) + "\n")

    def write_samples(self, rows: Iterable[SampleRow]) -> None:
        """Write ``samples.csv``, a row an image."""
        partial = self.samples_csv.with_suffix(".partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [f.name for f in fields(SampleRow)], lineterminator="\n")
            writer.writeheader()
            for row in rows:
                values = asdict(row)
                values["coverage"] = f"{row.coverage:.6f}"
                values["seconds"] = f"{row.seconds:.4f}"
                writer.writerow(values)
        partial.replace(self.samples_csv)

    def finish(self) -> None:
        """Remove the working files of a complete run."""
        self.close()
        shutil.rmtree(self.work, ignore_errors=True)


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise PseudoMaskError(f"cannot write {path}: {error.strerror or error}") from error


def _remove_empty(folder: Path) -> None:
    """Remove ``folder`` and folders below it as far as they are empty."""
    for parent, _, _ in os.walk(folder, topdown=False):
        if not os.listdir(parent):
            os.rmdir(parent)


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
