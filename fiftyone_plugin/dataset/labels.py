"""Which labels of a mask field a run has written, and which a person has put there since."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..images.listing import all_samples
from ..runs.cleaning import EDITS
from .record import RunRecord

__all__ = ["detach", "ids_of_others", "ids_of_run"]


def ids_of_run(dataset: Any, record: RunRecord) -> list[str]:
    """Return the ids of the samples whose mask lies in the run's folder."""
    folders = _folders([record.out])
    return [sample_id for sample_id, path in _paths(dataset, record.field) if path.startswith(folders)]


def ids_of_others(dataset: Any, field: str, outs: Iterable[str], *, own: bool) -> set[str]:
    """Return the ids of the samples whose label no run has written.

    These are labels with a mask in the database, which is the mask also where a file is named beside it, and
    those with a file elsewhere.

    Args:
        dataset: the dataset.
        field: the mask field.
        outs: the folders of the runs that fill or filled the field.
        own: the runs were made in this very dataset. If not, and not one file lies in the folders, the masks
            have travelled with the dataset, and their paths tell nothing.
    """
    from ..evaluation.fiftyone_masks import with_stored_mask

    if not dataset.has_sample_field(field):
        return set()
    folders, paths = _folders(outs), list(_paths(dataset, field))
    elsewhere = {sample_id for sample_id, path in paths if not path.startswith(folders)}
    travelled = not own and len(elsewhere) == len(paths)
    return with_stored_mask(all_samples(dataset), field) | (set() if travelled else elsewhere)


def detach(dataset: Any, field: str, ids: Iterable[str], outs: Iterable[str]) -> None:
    """Let labels with a mask in the database forget the file of a run that is about to go."""
    folders, chosen = _folders(outs), set(ids)
    paths = {i: None for i, path in _paths(dataset, field) if i in chosen and path.startswith(folders)}
    if paths:
        all_samples(dataset).set_values(f"{field}.mask_path", paths, key_field="id")


def _folders(outs: Iterable[str]) -> tuple[str, ...]:
    return tuple(str(Path(out) / name) + os.sep for out in outs if out for name in ("masks", EDITS))


def _paths(dataset: Any, field: str) -> Iterator[tuple[str, str]]:
    if dataset.has_sample_field(field):
        found = zip(*all_samples(dataset).values(["id", f"{field}.mask_path"]), strict=True)
        yield from ((sample_id, path) for sample_id, path in found if path)
