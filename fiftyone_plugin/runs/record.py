"""``run.json``: the record of a run, which anybody may have written, checked where it is read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from ..common.files import write_json
from ..common.untrusted import read_json, validate
from ..errors import UsageError

__all__ = ["RUN_FORMAT", "RunDocument"]

RUN_FORMAT = 1
WHAT = "the record of a run"


@dataclass(frozen=True)
class RunDocument:
    """The content of a ``run.json``; a run that is not complete has recorded its settings only.

    Two runs have the same masks if they have the same settings.
    """

    settings: dict[str, Any]  # all that the masks depend on
    format: int = RUN_FORMAT
    status: Literal["running", "complete"] = "running"
    resources: dict[str, Any] = field(default_factory=dict)  # settings that the masks do not depend on
    versions: dict[str, str] = field(default_factory=dict)  # of packages that the masks may depend on
    counts: dict[str, int] = field(default_factory=dict)  # of images, labelled and skipped
    classes: dict[str, str] = field(default_factory=dict)  # class id -> name
    areas: dict[str, float] = field(default_factory=dict)  # class id -> share of all pixels, in [0, 1]
    work: dict[str, Any] = field(default_factory=dict)  # what was computed, for estimates of other runs
    left_out: dict[str, Any] = field(default_factory=dict)  # what was found beside the images
    images_root: str | None = None  # folder that the keys of the images are relative to
    seconds: dict[str, float] = field(default_factory=dict)  # of each stage, and their total
    run_id: str | None = None  # what tells this run from every other; earlier versions wrote none
    shard: str | None = None  # I/N where the run is of a part of the images

    @property
    def is_complete(self) -> bool:
        """Whether all masks are there."""
        return self.status == "complete"

    @property
    def class_names(self) -> dict[int, str]:
        """Class id -> name."""
        return {int(id_): name for id_, name in self.classes.items()}

    @classmethod
    def read(cls, path: Path) -> RunDocument:
        """Read a ``run.json``.

        Raises:
            UsageError: it cannot be read, is no such record, or one of a format this version does not read.
        """
        try:
            document = read_json(path, what=WHAT)
        except UsageError as error:
            raise UsageError(
                f"{path} cannot be read ({error}); move it away or choose another --out"
            ) from error
        if not isinstance(document, dict) or not isinstance(document.get("settings"), dict):
            raise UsageError(f"{path} is not {WHAT}; choose another --out")
        if document.get("format") != RUN_FORMAT:
            raise UsageError(
                f"{path} was written in format {document.get('format')!s:.20}, this version reads "
                f"{RUN_FORMAT}; choose another --out"
            )
        validate(document, cls, path=path, what=WHAT)
        # not what is validated: there the bytes of file names that are not UTF-8 are lost
        return cls(**{item.name: document[item.name] for item in fields(cls) if item.name in document})

    def write(self, path: Path) -> None:
        """Write a ``run.json``, whole or not at all."""
        write_json(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file; what is not known yet is left out."""
        values = asdict(self)
        if self.shard is None:
            del values["shard"]
        begun = ("format", "status", "run_id", "settings")
        return values if self.is_complete else {name: values[name] for name in begun}
