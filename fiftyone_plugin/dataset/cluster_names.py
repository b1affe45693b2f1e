"""Names for the classes of a run: the cards that a person names, and the run that is made of the names.

The run that names make is a new one in a field of its own, by the same code as ``pseudomask name``: deleting
it takes the names back, and the masks that were named stay as they are.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.progress import NullProgress, Progress
from ..errors import PseudoMaskError, UsageError
from ..images.listing import all_samples
from ..runs.name_sheet import BACKGROUND, ClusterCard
from .database import alone, database_errors
from .editing.history import DONE, checked_name, list_edits, run_names
from .name_drafts import drafted
from .record import finished_run, list_runs
from .summary import class_rows, free_field

if TYPE_CHECKING:
    from fiftyone import Dataset

    from ..runs.result import LabelResult

__all__ = ["cards", "is_named", "name_classes", "named_field", "names_used"]

UNNAMED = re.compile(r"class \d+( [a-z])*|other \d+")
"""Names that nobody has given: those of clusters, and of the parts of a split."""


def cards(dataset: Dataset, field: str) -> list[ClusterCard]:
    """Return what a person is shown of every class of a run, similar ones side by side.

    The parts of a split stand after the class that was split. Names are those that a person has given, be it
    by a draft or by renaming; hidden classes are left out.

    Raises:
        UsageError: no finished run fills the field.
    """
    from ..runs.likeness import likeness
    from ..runs.model import FittedModel

    run = finished_run(dataset, field)
    folder = Path(run.out) / "model"
    method = FittedModel.load(folder).method if FittedModel.is_in(folder) else None
    images = {id_: row.images for row in class_rows(dataset, field) for id_ in row.ids}
    alike = likeness(method, sorted(images))
    names = {**_given(dataset, field), **drafted(dataset, run)}
    return [
        ClusterCard(
            id_,
            names.get(id_, ""),
            float(run.areas.get(str(id_), 0)),
            images[id_],
            *alike.nearest.get(id_, (0, 0.0)),
        )
        for id_ in _parts_together(dataset, field, alike.order)
    ]


def _parts_together(dataset: Dataset, field: str, order: Iterable[int]) -> list[int]:
    """Return an order of classes with the parts of every split behind the class that was split."""
    found = list(order)
    for edit in list_edits(dataset, field):
        if edit.kind != "split" or edit.status != DONE:
            continue
        first, *parts = edit.summary.get("ids") or [0]
        if first in found:
            found = [id_ for id_ in found if id_ not in parts]
            place = found.index(first) + 1
            found[place:place] = parts
    return found


def is_named(dataset: Dataset, field: str) -> bool:
    """Tell whether a person has given names to at least half of the classes of a mask field."""
    names = [str(name) for id_, name in (dataset.mask_targets.get(field) or {}).items() if str(id_) != "0"]
    return 2 * sum(not UNNAMED.fullmatch(name) for name in names) >= max(1, len(names))


def names_used(dataset: Dataset) -> list[str]:
    """Return the names that a person has given to classes of this dataset, those used most first."""
    counts: Counter[str] = Counter()
    for targets in dataset.mask_targets.values():
        counts.update(str(name) for id_, name in targets.items() if str(id_) != "0")
    for run in list_runs(dataset):
        counts.update(name for name in drafted(dataset, run).values() if name not in BACKGROUND)
    named = ((name, n) for name, n in counts.items() if not UNNAMED.fullmatch(name))
    return [name for name, _ in sorted(named, key=lambda pair: (-pair[1], pair[0]))]


def named_field(dataset: Dataset, field: str) -> str:
    """Return a free name for the field of the masks with names."""
    taken = [*dataset.get_field_schema(), *(name for run in list_runs(dataset) for name in run.fields)]
    return free_field(taken, f"{field}_named")


def _given(dataset: Dataset, field: str) -> dict[int, str]:
    """Return class id -> the name that renaming has given it."""
    names = run_names(dataset, field).shown
    return {id_: name for id_, name in names.items() if not UNNAMED.fullmatch(name)}


# ---------------------------------------------------------------------- a run of them


def name_classes(
    dataset: Dataset,
    field: str,
    names: Mapping[int, str] | None = None,
    new_field: str | None = None,
    *,
    progress: Progress | None = None,
) -> LabelResult:
    """Write the masks of a run with names to a new field, as a run of its own; the old one stays as it is.

    Classes of one name become one, ``background``, ``ignore`` and ``-`` become 0, as hidden classes do, and a
    class without a name stays one of its own. Edits count: what was split, merged or corrected is named as it
    is now. ``undo`` of the new run takes everything back.

    ``names`` are class id -> name; they come before those of :func:`drafted` and of renaming. The field to
    fill is ``new_field``, else ``<field>_named`` or the next free one.

    Raises:
        UsageError: no finished run fills ``field``, no class has a name, or ``new_field`` is taken.
    """
    from ..runs.naming import Edited, name_clusters
    from .claiming import claim
    from .editing.opening import editing
    from .labelling import forget_if_nothing_came
    from .writeback import rows_by_path, write_run

    dataset = dataset._dataset
    new_field = new_field or named_field(dataset, field)
    with alone(dataset.name), database_errors(), editing(dataset, field) as run:
        old = run.names
        chosen = {**_given(dataset, field), **drafted(dataset, run.record), **(names or {})}
        chosen = {id_: name for id_, name in chosen.items() if id_ in old.all or id_ in (names or {})}
        chosen = {id_: checked_name(name, f"class {id_}") for id_, name in chosen.items() if name.strip()}
        if not chosen:
            raise UsageError(f"no class of {field!r} has a name yet: choose Name classes in the panel")
        chosen |= dict.fromkeys(old.hidden, BACKGROUND[0])
        changed = {row.name: Path(row.path) for row in run.rows()}
        asked = json.dumps({"named": field, "names": {str(k): v for k, v in sorted(chosen.items())}})
        record, new = claim(dataset, new_field, None, overwrite=False, restart=False, asked=asked)
        if not new and (record.pending.get("label") or {}).get("asked") != asked:
            raise UsageError(f"{new_field!r} holds an unfinished run: choose another field name")
        try:
            order = [card.cluster for card in cards(dataset, field)]
            in_order = {id_: chosen[id_] for id_ in [*order, *chosen] if id_ in chosen}
            edited = Edited(old.all, changed)
            result = name_clusters(
                run.out, in_order, record.out, edited=edited, overwrite=not new, progress=progress
            )
        except PseudoMaskError:
            forget_if_nothing_came(dataset, record)
            raise
        shown = set(all_samples(dataset).exists(field).values("id"))
        rows = (pair for pair in rows_by_path(dataset, result) if pair[0] in shown)
        write_run(dataset, record, result, rows, progress or NullProgress())
        return result
