"""Names for the classes of a run: rename, merge by giving two ids one name, restore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

from .datasets import METHOD, run_key
from .errors import ImageReadError, UsageError
from .parallel import batched

__all__ = ["RenameResult", "class_names", "rename_classes", "restore_names"]

BATCH = 1000
LONGEST = 100  # characters; a name is shown in tables and tool tips


@dataclass(frozen=True)
class RenameResult:
    """What an edit of names did.

    Attributes:
        names: class id -> name, of all classes, after the edit.
        samples: number of samples whose list of classes changed.
        unread: ids of samples whose mask could not be read; their lists are as they were.
    """

    names: dict[int, str]
    samples: int
    unread: tuple[str, ...] = ()


def class_names(dataset: Any, field: str) -> dict[int, str]:
    """Return class id -> name of a mask field, ascending; 0 is no class."""
    targets = dataset.mask_targets.get(field) or {}
    names = {int(id_): name for id_, name in targets.items()}
    return {id_: names[id_] for id_ in sorted(names) if id_}


def rename_classes(samples: Any, field: str, names: Mapping[int, str]) -> RenameResult:
    """Give classes of a run other names; two ids of one name are merged wherever names are used.

    The masks stay as they are, ids included. The mask targets of ``field`` and the lists ``<field>_classes``
    follow, and the edit is recorded with the run, so that :func:`restore_names` can take it back.

    Args:
        samples: the dataset, or any view of it: names belong to the whole dataset.
        field: mask field of a finished run.
        names: class id -> new name; other classes keep theirs.

    Returns:
        All names after the edit, and what changed.

    Raises:
        UsageError: no finished run fills ``field``, an id is unknown, or a name is empty or too long.
    """
    dataset = samples._dataset
    config = _finished_run(dataset, field)
    old = class_names(dataset, field)
    new = {**old, **_checked(names, old, field)}
    if new == old:
        return RenameResult(old, 0)
    return _apply(dataset, field, config, old, new, exact=False)


def restore_names(samples: Any, field: str) -> RenameResult:
    """Take all edits of names back: the names and lists of classes are those that the run wrote.

    Args:
        samples: the dataset, or any view of it.
        field: mask field of a finished run.

    Returns:
        All names after the edit, and what changed.

    Raises:
        UsageError: no finished run fills ``field``.
    """
    dataset = samples._dataset
    config = _finished_run(dataset, field)
    old = class_names(dataset, field)
    original = getattr(config, "original_names", None)
    if not original:
        return RenameResult(old, 0)
    new = {int(id_): name for id_, name in original.items()}
    return _apply(dataset, field, config, old, new, exact=True)


def _finished_run(dataset: Any, field: str) -> Any:
    key = run_key(field)
    config = dataset.get_run_info(key).config if dataset.has_run(key) else None
    if config is None or config.method != METHOD or config.status != "complete":
        finished = [
            key.removeprefix(f"{METHOD}_") for key in dataset.list_runs(method=METHOD, status="complete")
        ]
        raise UsageError(f"no finished run fills {field!r}; there are: {', '.join(finished) or 'none'}")
    return config


def _checked(names: Mapping[int, str], old: Mapping[int, str], field: str) -> dict[int, str]:
    unknown = sorted(set(names) - set(old))
    if unknown:
        raise UsageError(f"{field!r} has no class {unknown[0]}: its ids are {min(old)} to {max(old)}")
    stripped = {id_: " ".join(str(name).split()) for id_, name in names.items()}
    for id_, name in stripped.items():
        if not 1 <= len(name) <= LONGEST:
            raise UsageError(f"class {id_} of {field!r} needs a name of 1 to {LONGEST} characters")
    return stripped


def _apply(
    dataset: Any, field: str, config: Any, old: dict[int, str], new: dict[int, str], *, exact: bool
) -> RenameResult:
    """Record the edit, then change lists and names; recorded first, so that a crash can be taken back."""
    _record(dataset, field, config, old, new)
    changed, unread = 0, []
    for updates, missing in _list_updates(dataset, field, old, new, exact=exact):
        if updates:
            dataset.set_values(f"{field}_classes", updates, key_field="id")
        changed += len(updates)
        unread += missing
    targets = dict(dataset.mask_targets[field])
    dataset.mask_targets = {**dataset.mask_targets, field: {**targets, **new}}
    dataset.save()
    return RenameResult(new, changed, tuple(unread))


def _record(dataset: Any, field: str, config: Any, old: dict[int, str], new: dict[int, str]) -> None:
    edit = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "names": {str(id_): [old.get(id_), name] for id_, name in new.items() if old.get(id_) != name},
    }
    if not getattr(config, "original_names", None):
        config.original_names = {str(id_): name for id_, name in old.items()}
    config.name_edits = [*(getattr(config, "name_edits", None) or []), edit]
    dataset.update_run_config(run_key(field), config)


def _list_updates(
    dataset: Any, field: str, old: dict[int, str], new: dict[int, str], *, exact: bool
) -> Iterator[tuple[dict[str, list[str]], list[str]]]:
    """Yield, a batch at a time, sample id -> new list of classes, and the ids of samples not readable.

    A name that several ids share does not tell which of them an image shows; where such a name is taken
    apart, or ``exact`` is set, the mask is read.
    """
    followers: dict[str, set[str]] = {}
    for id_, name in old.items():
        followers.setdefault(name, set()).add(new[id_])
    path = f"{field}_classes"
    for ids in batched(dataset.exists(field).values("id"), BATCH):
        updates, unread = {}, []
        found, lists, masks, files = dataset.select(ids).values(
            ["id", path, f"{field}.mask", f"{field}.mask_path"]
        )
        for id_, names, mask, file in zip(found, lists, masks, files, strict=True):
            names = names or []
            if exact or any(len(followers.get(name, ())) > 1 for name in names):
                present = _present(mask, file)
                if present is None:
                    unread.append(id_)
                    continue
                follow = [new[k] for k in present if k in new]
            else:
                follow = [next(iter(followers.get(name, (name,)))) for name in names]
            follow = list(dict.fromkeys(follow))
            if follow != names:
                updates[id_] = follow
        yield updates, unread


def _present(mask: Any, file: str | None) -> list[int] | None:
    """Return the ids in a mask but 0, ascending; ``None`` where it cannot be read."""
    from .evaluation.fiftyone_masks import load_mask

    try:
        values = load_mask(file, mask)
    except ImageReadError:  # one bad file must not end the edit
        return None
    return None if values is None else [int(value) for value in np.unique(values) if value]
