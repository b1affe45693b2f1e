"""Going on with a run that was stopped: on its images, with its settings, which nobody has to repeat."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.progress import Progress
from ..errors import UsageError
from ..images.listing import list_view
from ..runs.config import LabelConfig
from ..runs.folder import RunDirectory
from ..runs.stopping import is_at_work
from .cluster_names import name_classes
from .record import RunRecord, list_runs

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection as View

    from ..runs.result import LabelResult

__all__ = ["done_of", "resume_run", "unfinished_runs"]


def unfinished_runs(dataset: Dataset, *, at_work: bool = False) -> dict[str, RunRecord]:
    """Return mask field -> run of those that are not complete, newest first.

    Nobody works on them at this moment; with ``at_work``, a process does.
    """
    runs = (run for run in list_runs(dataset) if not run.is_complete)
    return {run.field: run for run in runs if is_at_work(Path(run.out)) == at_work}


def done_of(run: RunRecord) -> tuple[int, int | None]:
    """Return how many masks an unfinished run has made, of how many images; ``None``: not known."""
    directory = RunDirectory(Path(run.out))
    try:
        document = directory.read_run()
    except UsageError:  # damaged: going on with it says so
        document = None
    images = document.settings.get("images") if document is not None else None
    return sum(1 for _ in directory.finished()), images if isinstance(images, int) else None


def resume_run(dataset: Dataset, field: str, *, progress: Progress | None = None) -> LabelResult:
    """Go on with an unfinished run, the one that fills ``field``, where it stopped.

    Raises:
        UsageError: there is no unfinished run of this field, it is at work, or its settings are not known.
    """
    from .labelling import label_dataset  # heavy, and the panel imports this module

    dataset = dataset._dataset
    run = next((each for each in list_runs(dataset) if each.field == field and not each.is_complete), None)
    if run is None:
        raise UsageError(f"{dataset.name!r} has no unfinished run of pseudo-masks in {field!r}")
    if is_at_work(Path(run.out)):
        raise UsageError(f"the run in {field!r} is at work already")
    named = _named(run)
    if named is not None:
        return name_classes(dataset, *named, field, progress=progress)
    config, how = _asked(run)
    return label_dataset(_images(dataset, run), field, config=config, **how, progress=progress)


def _named(run: RunRecord) -> tuple[str, dict[int, str]] | None:
    """Return the field whose classes were being named, and the names; ``None`` for any other run."""
    try:
        noted = json.loads(run.pending["label"]["asked"])
        return str(noted["named"]), {int(k): str(v) for k, v in noted["names"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _asked(run: RunRecord) -> tuple[LabelConfig, dict[str, Any]]:
    """Return the settings that the run was begun with, and its model or the labels that it was taught by."""
    try:
        noted = json.loads(run.pending["label"]["asked"])
        how: dict[str, Any] = {"model": str(noted.pop("model")) or None}
        taught = json.loads(run.pending["label"].get("taught") or "null")
        if taught is not None:
            names = taught["names"]
            taught["names"] = {int(k): v for k, v in names.items()} if isinstance(names, dict) else names
            how |= {name: taught[name] for name in ("labels", "names", "ignore", "discover")}
        known = {item.name for item in fields(LabelConfig)}
        settings = {name: value for name, value in noted.items() if name in known}
    except (KeyError, TypeError, ValueError):
        raise UsageError(
            f"the settings of the run in {run.field!r} are not known any more: label the images into "
            f"{run.field!r} again with the same settings, or delete the run"
        ) from None
    return LabelConfig(**settings), how


def _images(dataset: Dataset, run: RunRecord) -> View:
    """Return the view that the run was begun on: as it was noted, or the whole dataset."""
    from fiftyone import DatasetView

    from ..runs.provenance import image_names_sha256

    noted = run.pending["label"].get("view")
    view = DatasetView._build(dataset, json.loads(noted)) if noted else dataset.view()
    document = RunDirectory(Path(run.out)).read_run()
    wanted = document.settings.get("image_names_sha256") if document is not None else None
    for candidate in (view, dataset.view()):
        if wanted == image_names_sha256([entry.item for entry in list_view(candidate)]):
            return candidate
    return view
