"""Which runs belong together: parts of one data set that one fitted model has labelled in the same way."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..common.classes import read_class_names
from ..common.files import real_path
from ..errors import UsageError
from ..images.shards import Shard
from .cleaning import EDITS
from .folder import RunDirectory
from .images import IMAGE_SETTINGS
from .model import ARRAYS_NAME, METHOD_NAME
from .record import RunDocument
from .samples import SampleRow, iterate_samples
from .spool import open_run

__all__ = ["FITTED_BY", "Part", "check_parts", "class_names", "open_part"]

logger = logging.getLogger(__name__)

# settings that tell how a run came by its model, which is compared itself
FITTED_BY = ("model", "fit_images")
PLACES = ("origin", "licence")  # of the weights, which their digest tells from others


@dataclass(frozen=True)
class Part:
    """A finished run that is to be joined."""

    folder: RunDirectory
    record: RunDocument
    model_sha256: str  # of the files of its fitted method

    @property
    def masks(self) -> dict[str, object]:
        """The settings that masks depend on, without those that say which images they are of."""
        settings = {k: v for k, v in self.record.settings.items() if k not in (*IMAGE_SETTINGS, *FITTED_BY)}
        backbone = {k: v for k, v in settings.get("backbone", {}).items() if k not in PLACES}
        return {**settings, "backbone": backbone, "fitted model": self.model_sha256}

    def rows(self) -> Iterator[tuple[SampleRow, Part]]:
        """Yield the rows of the table, by key.

        Raises:
            UsageError: they are in another order.
        """
        before = ""
        for row in iterate_samples(self.folder.samples_csv):
            if row.image < before:
                raise UsageError(f"{self.folder.samples_csv} is not sorted by image, as runs write it")
            before = row.image
            yield row, self


def open_part(root: Path) -> Part:
    """Return the finished run in a folder.

    Raises:
        UsageError: there is none, or it lacks its model.
    """
    folder = open_run(root)
    folder.fetch_finished()
    record = folder.read_run()
    if record is None:
        raise UsageError(f"{root} holds no run: it has no run.json; give folders that `label` has written")
    if not record.is_complete:
        raise UsageError(f"the run in {root} is not finished; finish it first: label ... --resume")
    digest = hashlib.sha256()
    try:
        for name in (METHOD_NAME, ARRAYS_NAME):
            digest.update((folder.model / name).read_bytes())
    except OSError as error:
        raise UsageError(f"the run in {root} lacks its model: {error.strerror or error}") from error
    if (folder.root / EDITS).is_dir():
        logger.warning("masks in %s were edited: they are joined as they are, without the way back", root)
    return Part(folder, record, digest.hexdigest())


def check_parts(parts: Sequence[Part], out: Path, partial: bool) -> None:
    """Refuse what does not belong together.

    Raises:
        UsageError: it does not.
    """
    if not parts:
        raise UsageError("name the runs to join")
    real = [real_path(part.folder.final_root) for part in parts]
    if twice := [path for path, count in Counter(real).items() if count > 1]:
        raise UsageError(f"{twice[0]} is named twice")
    if real_path(out) in real:
        raise UsageError(f"{out} is one of the runs to join; choose another --out")
    first = parts[0]
    for part in parts[1:]:
        ours, theirs = first.masks, part.masks
        differ = [k for k in sorted(ours.keys() | theirs.keys()) if ours.get(k) != theirs.get(k)]
        if differ:
            raise UsageError(
                f"{part.folder.final_root} and {first.folder.final_root} were not labelled alike "
                f"({', '.join(differ)} differs): their classes are not the same; label all with one --model"
            )
        if part.record.versions != first.record.versions:
            logger.warning(
                "%s and %s were made by other versions", part.folder.final_root, first.folder.final_root
            )
    missing = _missing([part.record.shard for part in parts])
    if missing and not partial:
        raise UsageError(f"shards are missing: {', '.join(missing)}; label those too, or use --partial")


def _missing(shards: Iterable[str | None]) -> list[str]:
    """Return the shards that are lacking where all runs are shards of one number."""
    found = [Shard.parse(shard) for shard in shards if shard is not None]
    if len({shard.count for shard in found}) != 1:
        return []
    count, present = found[0].count, {shard.index for shard in found}
    return [f"{index}/{count}" for index in range(1, count + 1) if index not in present]


def class_names(parts: Sequence[Part]) -> dict[int, str]:
    """Return the names of the classes: those that somebody has given go before ``class 1``.

    Raises:
        UsageError: two runs have given a class two names.
    """
    names: dict[int, str] = {}
    for part in parts:
        for id_, name in read_class_names(part.folder.root / "classes.json")[0].items():
            known = names.get(id_, f"class {id_}")
            if name != known and known != f"class {id_}" and name != f"class {id_}":
                raise UsageError(
                    f"class {id_} is {known!r} in one run, {name!r} in {part.folder.final_root}; "
                    "give it one name"
                )
            names[id_] = name if known == f"class {id_}" else known
    return {id_: names[id_] for id_ in sorted(names)}
