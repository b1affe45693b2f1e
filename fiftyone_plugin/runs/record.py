"""``run.json``: the record of a run, which anybody may have written, checked where it is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..common.untrusted import read_json, validate
from ..errors import UsageError

__all__ = ["RUN_FORMAT", "read_record"]

RUN_FORMAT = 1
WHAT = "the record of a run"


@dataclass
class _Record:
    """The types of what is read of a record; others may be in it."""

    settings: dict[str, Any]
    format: int
    status: Literal["running", "complete"] = "running"
    resources: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    areas: dict[str, float] = field(default_factory=dict)
    work: dict[str, Any] = field(default_factory=dict)
    images_root: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    run_id: str | None = None


def read_record(path: Path) -> dict[str, Any]:
    """Read a ``run.json``.

    Raises:
        UsageError: it cannot be read, is no such record, or one of a format this version does not read.
    """
    try:
        document = read_json(path, what=WHAT)
    except UsageError as error:
        raise UsageError(f"{path} cannot be read ({error}); move it away or choose another --out") from error
    if not isinstance(document, dict) or not isinstance(document.get("settings"), dict):
        raise UsageError(f"{path} is not {WHAT}; choose another --out")
    if document.get("format") != RUN_FORMAT:
        raise UsageError(
            f"{path} was written in format {document.get('format')!s:.20}, this version reads "
            f"{RUN_FORMAT}; choose another --out"
        )
    validate(document, _Record, path=path, what=WHAT)
    return document
