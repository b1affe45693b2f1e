"""A finished run, as what goes on from it needs it."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError
from .folder import RunDirectory
from .record import RunDocument
from .samples import SampleRow, read_samples

__all__ = ["finished_run"]


def finished_run(run: Path) -> tuple[RunDirectory, RunDocument, list[SampleRow]]:
    """Return the folder, the record and the rows of a finished run.

    Raises:
        UsageError: there is none.
    """
    directory = RunDirectory(run)
    record = directory.read_run() if run.is_dir() else None
    if record is None:
        raise UsageError(f"{run} holds no run of `pseudomask label`")
    if not record.is_complete:
        raise UsageError(f"the run in {run} is not finished: go on with it by `label --resume`")
    return directory, record, read_samples(directory.samples_csv)
