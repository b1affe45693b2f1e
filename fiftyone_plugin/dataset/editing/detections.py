"""Masks as Detections with instance masks, which the App can edit, and edited ones back into the masks.

FiftyOne's own ``segmentations_to_detections`` and ``objects_to_segmentations`` lose pixels on the way: boxes
are rounded and small parts are dropped. Here every pixel that nobody touched comes back as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from ...common.parallel import batched
from ...common.progress import NullProgress, Progress
from ...errors import UsageError
from ...images.listing import all_samples
from ...masks.regions import find_regions
from ..journal import begun
from ..record import RunFields, check_field_name, update_record
from ..summary import ids_by_name
from .claims import Box, Claim, cut_instances, fold_claims, place_instance
from .history import ClassNames
from .opening import editing
from .run import EditableRun, MaskRow, Written

if TYPE_CHECKING:
    import fiftyone as fo
    from fiftyone.core.collections import SampleCollection as View

__all__ = ["ConvertResult", "detections_to_masks", "masks_to_detections"]

BATCH = 100
MIN_AREA = 64  # pixels: smaller regions are hard to hit with a mouse


@dataclass(frozen=True)
class ConvertResult:
    """What :func:`masks_to_detections` wrote: to which field, of how many samples, how many detections."""

    field: str
    samples: int
    detections: int
    unread: tuple[str, ...]  # ids of samples whose mask could not be read


def masks_to_detections(
    samples: View,
    field: str,
    into: str | None = None,
    *,
    min_area: int = MIN_AREA,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ConvertResult:
    """Write the regions of masks as Detections with instance masks, to be edited in the App.

    Every connected region of a shown class becomes a detection with the name of the class. Change outlines
    and labels, delete and draw them; :func:`detections_to_masks` then puts them back.

    Args:
        samples: a view of the samples to correct, or the dataset.
        field: mask field of a finished run.
        into: field for the detections; ``None`` for ``<field>_detections``.
        min_area: fewest pixels of a region; smaller ones stay in the masks and are not handed out.
        overwrite: replace the field if it exists, with all that was edited in it.
        progress: where the stage reports to.

    Raises:
        UsageError: no finished run fills ``field``, ``into`` exists or cannot be a name, or no sample has a
            mask of the run.
    """
    import fiftyone as fo

    into = into or RunFields(field).detections
    check_field_name(into)
    if min_area < 1:
        raise UsageError(f"min_area counts pixels, at least 1, not {min_area}")
    wanted = all_samples(samples).values("id")
    progress = progress or NullProgress()
    with editing(samples, field) as run:
        dataset = run.dataset
        _check_free(dataset, into, overwrite)
        rows = run.rows(sample_ids=wanted)
        if not rows:
            raise UsageError(f"no sample of the view has a mask in {field!r}")
        with begun(dataset, run.key, "detections", into=into):
            if dataset.has_sample_field(into):
                dataset.delete_sample_field(into)
            names = {str(id_): name for id_, name in run.names.shown.items()}
            known = {**run.record.detections, into: {"min_area": min_area, "names": names}}
            update_record(dataset, run.key, detections=known)  # what is needed to put them back
            dataset.add_sample_field(into, fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
            return _hand_out(run, into, rows, set(wanted), min_area, progress)


def _hand_out(
    run: EditableRun, into: str, rows: Sequence[MaskRow], chosen: set[str], min_area: int, progress: Progress
) -> ConvertResult:
    names = run.names.shown
    total, written, unread = 0, 0, []
    with progress.stage("detections", total=len(rows)) as stage:
        for batch in batched(rows, BATCH):
            values = {}
            for row in batch:
                ids = [id_ for id_ in row.sample_ids if id_ in chosen]
                mask = run.read(row)
                if mask is None:
                    unread += ids
                    continue
                instances = cut_instances(mask, list(names), min_area)
                for id_ in ids:
                    values[id_] = _to_label(run, row, instances, names)
                    total += len(instances)
            run.dataset.set_values(into, values, key_field="id")
            written += len(values)
            stage.update(len(batch))
    return ConvertResult(into, written, total, tuple(unread))


def _check_free(dataset: fo.Dataset, into: str, overwrite: bool) -> None:
    if not dataset.has_sample_field(into):
        return
    if not overwrite:
        raise UsageError(f"field {into!r} exists: choose another name, or overwrite=True")
    import fiftyone as fo

    if into not in dataset.get_field_schema(embedded_doc_type=fo.Detections):
        raise UsageError(f"field {into!r} holds no detections: choose another name")


def _to_label(
    run: EditableRun, row: MaskRow, instances: list[tuple[int, Box, np.ndarray]], names: Mapping[int, str]
) -> fo.Detections:
    import fiftyone as fo

    detections = [
        fo.Detection(label=names[id_], bounding_box=list(box), mask=crop, class_id=id_)
        for id_, box, crop in instances
    ]
    return fo.Detections(detections=detections, source_mask=_source(run, row))


def _source(run: EditableRun, row: MaskRow) -> str:
    """Tell which version of a mask detections were cut from."""
    return PurePath(row.path).relative_to(run.out).as_posix()


def detections_to_masks(
    samples: View, field: str, into: str | None = None, *, progress: Progress | None = None
) -> Written:
    """Put edited Detections back into the masks that they were cut from, as one edit of the run.

    A detection's label decides on its class: a name that no class has makes a new class. Pixels of a
    detection that was deleted or made smaller become 0. One that was made larger, moved or drawn covers what
    was there before. Untouched detections change nothing, not one pixel.

    ``samples`` are those to put back, and the detections in the field ``into``, or in ``<field>_detections``.

    Returns:
        What changed. The summary of the edit tells ``skipped``: sample id -> why its mask was left alone,
        e.g. because it was edited in another way since.

    Raises:
        UsageError: no finished run fills ``field``, or ``into`` was not made by :func:`masks_to_detections`.
        PseudoMaskError: a file cannot be written; nothing was changed.
    """
    into = into or RunFields(field).detections
    with editing(samples, field) as run:
        settings = run.record.detections.get(into)
        if settings is None or not run.dataset.has_sample_field(into):
            raise UsageError(
                f"{into!r} was not made from the masks of {field!r}: use masks_to_detections first"
            )
        names = {int(id_): name for id_, name in settings["names"].items()}
        handed_out = _HandedOut(int(settings["min_area"]), names)
        view = all_samples(samples).exists(into)
        labels = {_clean(label) for label in view.distinct(f"{into}.detections.label") if label}
        before = run.names
        # labels that are no names yet get ids of their own
        new = sorted(labels - {"", *names.values(), *before.all.values()})
        after = ClassNames({**before.shown, **dict(enumerate(new, before.next_id()))}, before.hidden)
        rows = run.rows(sample_ids=view.values("id"))
        skipped: dict[str, str] = {}
        ids = {**ids_by_name(names), **ids_by_name(after.all)}
        masks = _folded(run, rows, into, handed_out, ids, skipped, progress or NullProgress())
        return run.apply(
            "detections",
            {"field": into, "images": len(rows)},
            after,
            masks,
            summarize=lambda: {
                "skipped": dict(skipped),
                "new_classes": new,
            },
        )


@dataclass(frozen=True)
class _HandedOut:
    """What was cut from the masks: regions of at least ``min_area`` pixels, under these names."""

    min_area: int
    names: dict[int, str]

    def pixels(self, mask: np.ndarray) -> np.ndarray:
        """Return the (H, W) bool pixels that were handed out."""
        regions = find_regions(mask, list(self.names))
        return np.concatenate([[False], regions.area >= self.min_area])[regions.map]


def _clean(label: str | None) -> str:
    return " ".join((label or "").split())


def _folded(
    run: EditableRun,
    rows: Sequence[MaskRow],
    into: str,
    handed_out: _HandedOut,
    ids: Mapping[str, list[int]],
    skipped: dict[str, str],
    progress: Progress,
) -> Iterator[tuple[MaskRow, np.ndarray]]:
    with progress.stage("fold detections", total=len(rows)) as stage:
        for batch in batched(rows, BATCH):
            first = {row.sample_ids[0]: row for row in batch}
            for sample in all_samples(run.dataset).select(list(first)).select_fields(into).iter_samples():
                row, label = first[sample.id], sample[into]
                stage.update()
                if label is None:
                    continue
                if getattr(label, "source_mask", None) != _source(run, row):
                    skipped[sample.id] = "its mask is not the one that was converted: convert it again"
                    continue
                mask = run.read(row)
                if mask is None:
                    continue
                try:
                    claims = _claims(label.detections, mask.shape, handed_out, ids)
                except UsageError as error:
                    skipped[sample.id] = str(error)
                    continue
                new = fold_claims(mask, handed_out.pixels(mask), claims)
                if not np.array_equal(new, mask):
                    yield row, new


def _claims(
    detections: Sequence[fo.Detection],
    shape: tuple[int, ...],
    handed_out: _HandedOut,
    ids: Mapping[str, list[int]],
) -> list[Claim]:
    claims = []
    for detection in detections:
        label = _clean(detection.label)
        own = detection["class_id"] if detection.has_attribute("class_id") else None
        if not label and own is None:
            raise UsageError("a detection has no label: give it the name of a class, or delete it")
        choices = ids.get(label, [])
        # of several ids with one name it keeps its own; so does one that nobody has labelled anew
        keeps = not label or own in choices or handed_out.names.get(own or 0) == label
        class_id = int(own) if keeps and own is not None else choices[0]
        claim = place_instance(
            tuple(detection.bounding_box), detection.get_mask(), (shape[0], shape[1]), class_id
        )
        claims += [claim] if claim is not None else []
    return claims
