"""Names for clusters: a run whose classes are those of a person, made from one whose classes are clusters."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..common.files import real_path
from ..common.progress import NullProgress, Progress
from ..errors import ImageReadError, UsageError, did_you_mean
from ..masks.areas import class_shares
from ..masks.files import read_mask, write_mask
from .exemplars import write_exemplars
from .folder import RunDirectory
from .images import describe_images
from .model import FittedModel
from .name_sheet import BACKGROUND, read_names
from .record import RunDocument
from .result import LabelResult, finished_run
from .samples import SampleRow, total_areas
from .stages import draw_sheet

__all__ = ["Edited", "name_clusters"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Edited:
    """What edits in a dataset have made of a run, whose folder is as it was."""

    names: Mapping[int, str]  # class id -> name, of all classes that there are now
    masks: Mapping[str, Path]  # name of a mask -> the file that shows it now, of those that were changed


def name_clusters(
    run: str | Path,
    names: str | Path | Mapping[int, str],
    out: str | Path,
    *,
    classes: Mapping[int, str] | None = None,
    edited: Edited | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> LabelResult:
    """Write the masks of a run anew with the names of a person; the run itself stays as it is.

    Clusters of the same name become one class. A cluster without a name stays a class of its own, one whose
    name is ``background``, ``ignore`` or ``-`` becomes 0. With the default method, ``out/model`` labels new
    images so too, and can be taught by labelled images.

    Args:
        run: folder of a finished run.
        names: table of names, see :func:`~.name_sheet.read_names`, or cluster id -> name.
        out: folder of the new run.
        classes: id -> name of the classes, where ids are wanted; ``None``: numbered as they come.
        edited: what edits in a dataset have made of the run; ``None``: it is as it was written.
        overwrite: replace an earlier run in ``out``.
        progress: where the stage reports to.

    Returns:
        The new run.

    Raises:
        UsageError: no finished run, a wrong table, or ``out`` is taken.
    """
    source, record, rows = finished_run(Path(run))
    if real_path(Path(out)) == real_path(Path(run)):
        raise UsageError(f"{out} is the run itself, which stays as it is; choose another --out")
    edited = edited or Edited(record.class_names, {})
    clusters = sorted(({id_ for row in rows for id_ in row.classes} | set(edited.names)) - {0})
    given = read_names(Path(names), clusters) if isinstance(names, (str, Path)) else dict(names)
    if wrong := sorted(set(given) - set(clusters)):
        raise UsageError(f"the run has no cluster {wrong[0]}{did_you_mean(wrong[0], map(str, clusters))}")
    if not any(name.strip() for name in given.values()):
        raise UsageError(f"no cluster has a name in {names}: fill in its column 'name'")
    class_of, shown = _classes(clusters, given, edited.names, classes)
    table = np.arange(1 + max([*class_of, *(id_ for row in rows for id_ in row.classes)]))
    table[list(class_of)] = list(class_of.values())
    target = RunDirectory(Path(out))
    target.reserve(resume=False, restart=overwrite)
    try:
        settings = {**record.settings, "named": {str(k): v for k, v in sorted(given.items())}}
        folder = target.open({**settings, "named_run": record.run_id}, resume=False, restart=overwrite)
        try:
            with (progress or NullProgress()).stage("masks", total=len(rows)) as stage:
                renamed = []
                for row in rows:
                    path = edited.masks.get(row.mask, source.masks / row.mask)
                    renamed.append(_rename(path, source, folder, row, table))
                    stage.update()
            return _write(source, record, renamed, folder, class_of, shown)
        except BaseException:
            folder.remove_outputs()
            raise
    finally:
        target.close()


def _classes(
    clusters: list[int], given: Mapping[int, str], old: Mapping[int, str], wanted: Mapping[int, str] | None
) -> tuple[dict[int, int], dict[int, str]]:
    """Return cluster -> class, and class -> name; the named ones first, in the order of the table."""
    shown = dict(wanted or {})
    ids = {name.strip().casefold(): id_ for id_, name in shown.items()}
    class_of: dict[int, int] = {}
    for cluster, name in given.items():
        word = name.strip().casefold()
        if word in BACKGROUND:
            class_of[cluster] = 0
        elif word:
            if wanted is not None and word not in ids:
                raise UsageError(f"no class is called {name!r}{did_you_mean(name, wanted.values())}")
            class_of[cluster] = ids.setdefault(word, len(ids) + 1)
            shown.setdefault(class_of[cluster], name.strip())
    free = max([*shown, 0]) + 1
    for class_, cluster in enumerate((id_ for id_ in clusters if id_ not in class_of), free):
        class_of[cluster] = class_
        shown[class_] = old.get(cluster, f"class {cluster}")
    return class_of, dict(sorted(shown.items()))


def _write(
    source: RunDirectory,
    record: RunDocument,
    rows: list[SampleRow],
    folder: RunDirectory,
    class_of: Mapping[int, int],
    names: dict[int, str],
) -> LabelResult:
    """Write what goes with the masks of the new run."""
    paths = {row.image: str(Path(record.images_root or "") / row.image) for row in rows}
    _save_model(source, folder, class_of, names)
    folder.write_classes(names)
    labelled = [row for row in rows if row.status == "labelled"]
    title = f"{source.root.name}, named · {len(labelled)} images · {len(names)} classes"
    draw_sheet(folder, rows, paths, names, title)
    write_exemplars(folder, rows, paths)
    done = replace(
        record,
        run_id=folder.run_id,
        settings={
            **record.settings,
            **describe_images({row.image: row.stamp for row in rows}),
            "named": {str(k): names.get(id_, "background") for k, id_ in sorted(class_of.items())},
            "named_run": record.run_id,
        },
        counts={"images": len(rows), "labelled": len(labelled), "skipped": len(rows) - len(labelled)},
        classes={str(id_): name for id_, name in names.items()},
        areas={str(id_): share for id_, share in total_areas(labelled).items()},
    )
    folder.write_samples(rows)
    folder.write_run(done)
    folder.finish()
    return LabelResult(folder.final_root, rows, names, done.to_json())


def _rename(
    path: Path, source: RunDirectory, folder: RunDirectory, row: SampleRow, table: np.ndarray
) -> SampleRow:
    """Write one mask with other ids; a mask that is gone is listed as skipped."""
    if row.status != "labelled":
        return row
    try:
        mask = read_mask(path)
        if mask.max(initial=0) >= len(table):
            raise ImageReadError(path, f"shows class {mask.max()}, which the run does not have")
        mask = table[mask].astype(np.uint16)
    except ImageReadError as error:
        logger.warning("%s: its mask %s", row.image, error.reason)
        return SampleRow(image=row.image, status="skipped", error=f"its mask {error.reason}", stamp=row.stamp)
    classes, shares = class_shares(mask)
    qualities, coverage = _qualities(row, table, classes), float((mask > 0).mean())
    made = replace(row, classes=classes, shares=shares, qualities=qualities, coverage=coverage)
    folder.append([made])
    write_mask(folder.masks / row.mask, mask)
    if (source.confidence / row.mask).is_file():
        (folder.confidence / row.mask).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.confidence / row.mask, folder.confidence / row.mask)
    return made


def _qualities(row: SampleRow, table: np.ndarray, classes: tuple[int, ...]) -> tuple[float, ...]:
    """Return the quality of each class: that of its clusters, by their shares; the mask's for a new one."""
    if not row.qualities or not row.shares:
        return ()
    sums = {id_: np.zeros(2) for id_ in classes}
    for cluster, share, quality in zip(row.classes, row.shares, row.qualities, strict=True):
        if (class_ := int(table[cluster])) in sums:
            sums[class_] += (share * quality, share)
    return tuple(float(f"{total / share if share else row.quality:.4f}") for total, share in sums.values())


def _save_model(
    source: RunDirectory, folder: RunDirectory, class_of: Mapping[int, int], names: Mapping[int, str]
) -> None:
    """Save a model that labels new images with these names, where the run's method can be taught."""
    from ..methods.mosaic import Mosaic
    from ..methods.taught import Taught

    model = FittedModel.load(source.model) if FittedModel.is_in(source.model) else None
    if model is None or not isinstance(model.method, Mosaic) or getattr(model.method, "is_taught", False):
        logger.warning("no model is written: only clusters of the default method can be named for new images")
        return
    known = {cluster: id_ for cluster, id_ in class_of.items() if cluster <= model.method.n_classes_}
    method = Taught.of(model.method).name_clusters(known, names)
    replace(model, method=method).save(folder.model)
