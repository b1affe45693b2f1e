"""The fields of samples that follow an edit: path of the mask, list of classes, coverage; and the areas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...common.parallel import batched
from ...errors import ImageReadError
from ...evaluation.fiftyone_masks import with_stored_mask
from ...images.listing import all_samples
from ...masks.areas import DECIMALS
from ...masks.files import read_mask_file
from ...runs.folder import RunDirectory
from ...runs.samples import read_samples
from ..record import RunFields
from .history import ClassNames

if TYPE_CHECKING:
    from fiftyone import Dataset

__all__ = ["AreaChange", "FieldWriter", "MaskContent"]

BATCH = 1000


class FieldWriter:
    """Brings the fields beside a mask field up to date, a batch of samples at a time.

    ``mask_name`` turns the path of a mask into its name in the run, ``None`` for a file of others.
    """

    def __init__(self, dataset: Dataset, field: str, mask_name: Callable[[str | None], str | None]) -> None:
        self._dataset, self._fields, self._mask_name = dataset, RunFields(field), mask_name

    def update(
        self, old: ClassNames, new: ClassNames, changed: Mapping[str, MaskContent], *, reread: bool = False
    ) -> tuple[int, list[str]]:
        """Bring mask paths, coverage and lists of classes from the names ``old`` to ``new``.

        ``changed`` tells by its name what a mask becomes; with ``reread`` the lists cannot be trusted, so
        every mask is read. Returns the number of samples of which a field changed, and the ids of those whose
        mask cannot be read.
        """
        fields, field = self._fields, self._fields.mask
        # what was hidden is in no list
        reread = reread or any(id_ in old.hidden for id_ in new.shown)
        followers = _followers(old.shown, new.shown)
        columns = ["id", fields.path, fields.classes, fields.coverage]
        present = [c for c in columns if "." in c or self._dataset.has_sample_field(c)]
        total, unread = 0, []
        samples = all_samples(self._dataset)
        drawn = with_stored_mask(samples, field)
        for ids in batched(samples.exists(field).values("id"), BATCH):
            found = dict(zip(present, samples.select(ids).values(present), strict=True))
            paths: dict[str, str] = {}
            lists: dict[str, list[str]] = {}
            shares: dict[str, float] = {}
            for i, id_ in enumerate(found["id"]):
                path, listed, coverage = (found[c][i] if c in found else None for c in columns[1:])
                content = changed.get(self._mask_name(path) or "")
                if content is not None and content.path is not None and content.path != path:
                    paths[id_] = content.path
                if id_ in drawn:  # it shows the mask in the database; the file beside it has to be there
                    content, path = None, None
                ambiguous = any(len(followers.get(name, ())) > 1 for name in listed or [])
                if content is None and not reread and id_ not in drawn and not ambiguous:
                    names = _follow(listed or [], followers)
                else:
                    try:
                        content = self._completed(content, id_, path)
                    except ImageReadError:  # one bad file must not end the edit
                        unread.append(id_)
                        continue
                    names = content.names(new.shown)
                    if id_ in paths and coverage != content.coverage:
                        shares[id_] = content.coverage
                if names != (listed or []):
                    lists[id_] = names
            for name, values in ((fields.path, paths), (fields.classes, lists), (fields.coverage, shares)):
                if values and self._dataset.has_sample_field(name.split(".")[0]):
                    samples.set_values(name, values, key_field="id")
            total += len({*paths, *lists, *shares})
        return total, unread

    def outside(self) -> tuple[str, ...]:
        """Return the ids of the samples with a mask that the run has not written."""
        samples = all_samples(self._dataset).exists(self._fields.mask)
        drawn = with_stored_mask(samples, self._fields.mask)
        paths = zip(*samples.values(["id", self._fields.path]), strict=True)
        return tuple(id_ for id_, path in paths if id_ in drawn or (path and self._mask_name(path) is None))

    def _completed(self, content: MaskContent | None, sample_id: str, path: str | None) -> MaskContent:
        """Read the mask of which not more than the path is known."""
        if content is not None and content.ids is not None:
            return content
        path = content.path if content is not None else path
        # somebody may have put a mask into the database instead
        stored = None if path else self._dataset[sample_id][self._fields.mask].mask
        return MaskContent.of(read_mask_file(path, stored), path)


@dataclass(frozen=True)
class MaskContent:
    """What a sample shows."""

    path: str | None  # of the mask file; None for a mask in the database
    coverage: float = 0.0  # share of pixels that are not 0, in [0, 1]
    ids: tuple[int, ...] | None = None  # present but 0, ascending; None where the mask has not been read

    @classmethod
    def of(cls, mask: np.ndarray, path: str | None) -> MaskContent:
        """Describe an (H, W) mask of class ids."""
        return cls(path, float((mask > 0).mean()), tuple(int(id_) for id_ in np.unique(mask) if id_))

    def names(self, shown: Mapping[int, str]) -> list[str]:
        """Return the names of the classes present, each once."""
        return list(dict.fromkeys(shown[id_] for id_ in self.ids or () if id_ in shown))


class AreaChange:
    """Pixels that every class has won or lost."""

    def __init__(self) -> None:
        self.pixels: Counter[int] = Counter()

    def add(self, new: np.ndarray, old: np.ndarray) -> None:
        """Count one (H, W) mask that changes from ``old`` to ``new``."""
        for mask, count in ((new, self.pixels.update), (old, self.pixels.subtract)):
            ids, pixels = np.unique(mask, return_counts=True)
            count(dict(zip(ids.tolist(), pixels.tolist(), strict=True)))

    def apply(self, areas: Mapping[str, float], out: Path) -> dict[str, float]:
        """Return the areas after the change; they are shares of the pixels of all labelled images."""
        table = RunDirectory(out).samples_csv
        if not areas or not self.pixels or not table.is_file():
            return dict(areas)
        total = sum(row.width * row.height for row in read_samples(table) if row.status == "labelled")
        new = {int(id_): share for id_, share in areas.items()}
        for id_, pixels in self.pixels.items():
            new[id_] = max(0.0, new.get(id_, 0.0) + pixels / max(1, total))
        return {str(id_): round(new[id_], DECIMALS) for id_ in sorted(new) if id_ and new[id_] > 0}


def _followers(old: Mapping[int, str], new: Mapping[int, str]) -> dict[str, set[str | None]]:
    """Return what becomes of every name; a name that several ids share does not tell which one is meant."""
    followers: dict[str, set[str | None]] = {}
    for id_, name in old.items():
        followers.setdefault(name, set()).add(new.get(id_))
    return followers


def _follow(names: Iterable[str], followers: Mapping[str, set[str | None]]) -> list[str]:
    """Return the names that a list becomes, each once; names of hidden classes leave."""
    new = (next(iter(followers.get(name, {name}))) for name in names)
    return list(dict.fromkeys(name for name in new if name is not None))
