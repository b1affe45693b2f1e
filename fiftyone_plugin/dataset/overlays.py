"""Other ways to see masks, each as a field of its own beside them: outlines, doubt, where two masks differ.

An overlay is a picture of the masks as they are, in the database, at most :data:`SIDE` pixels wide: the App
stretches it over the photo. It goes with the run that it was made from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..common.parallel import batched
from ..common.progress import NullProgress, Progress
from ..common.skipped import Skipped
from ..errors import ImageReadError, UsageError
from ..images.listing import all_samples
from .colours import forget_classes, write_classes, write_scale
from .database import database_errors
from .keys import numbered
from .record import RunFields, finished_fields, finished_run

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection as View

__all__ = ["DIFFERENCE", "DOUBT", "OUTLINES", "Overlay", "add_overlay", "list_overlays", "remove_overlay"]

OUTLINES, DOUBT, DIFFERENCE = "outlines", "doubt", "difference"
MARK = "pseudomask_overlay"  # of what a field knows: the masks that it shows
SIDE = 640  # pixels of the longer side
SAMPLE = 100  # maps whose median is taken
LINES = 200  # half of a line is this part of the longer side
BATCH = 64  # samples whose overlays are held at once
DOUBT_COLOURS = ("rgb(255, 237, 160)", "rgb(240, 59, 32)")  # of some doubt, and of most
OTHER_CLASS, ONLY_FIRST, ONLY_SECOND = 1, 2, 3  # ids of a difference


@dataclass(frozen=True)
class Overlay:
    """A field that shows masks in another way."""

    name: str
    kind: str  # outlines, doubt or difference
    field: str  # the masks that it shows
    other: str = ""  # those that they were compared with; empty but for differences
    images: int = 0  # that have it
    left_out: tuple[Skipped, ...] = ()  # image, or sample id, and why it has none


def add_overlay(
    samples: View, field: str, kind: str, other: str | None = None, progress: Progress | None = None
) -> Overlay:
    """Show the masks of a run in another way, in a field of its own.

    ``outlines`` is ``<field>_outlines``: the classes along their borders. ``doubt`` is ``<field>_doubt``: a
    heat map where the confidence of a pixel is below the median of the run, the more the lower.
    ``difference`` is ``<field>_vs_<other>``: where the masks have another class than ``other``, a
    Segmentation field, or only one of the two has a class. Classes of two runs are matched one to one
    (Hungarian); of other masks, ground truth for instance, every class stands for the one that most of its
    pixels have, and where they have none, or one without a name, nothing differs.

    Returns:
        The field, how many images have it, and which have not. One that was made before is made anew; a
        field of somebody else is never touched, ``_2`` is added to the name then.

    Raises:
        UsageError: no finished run, no such kind, nothing to compare with, or no image could be done.
    """
    import fiftyone as fo

    dataset = samples._dataset
    with database_errors("Ask for the overlay again once it does"):
        finished_run(dataset, field)
        view = all_samples(samples).exists(field)
        if kind == OUTLINES:
            name, drawn = f"{field}_outlines", _drawn(view, field, field, lambda mask, _: outlines(mask))
        elif kind == DOUBT:
            name, drawn = f"{field}_doubt", _doubts(view, RunFields(field).confidence)
        elif kind == DIFFERENCE:
            other = _checked(dataset, field, other)
            view = view.exists(other)
            name, drawn = f"{field}_vs_{other}", _differences(view, field, other)
        else:
            raise UsageError(f"there is no overlay {kind!r}: {OUTLINES}, {DOUBT} or {DIFFERENCE}")
        mark = {"kind": kind, "field": field, "other": other or ""}
        name = _free(dataset, name, mark)
        label = fo.Heatmap if kind == DOUBT else fo.Segmentation
        dataset.add_sample_field(name, fo.EmbeddedDocumentField, embedded_doc_type=label, info={MARK: mark})
        images, skipped = 0, []
        with (progress or NullProgress()).stage("drawing", total=len(view)) as stage:
            for batch in batched(drawn, BATCH):
                done = {id_: found for id_, found in batch if not isinstance(found, Skipped)}
                skipped += [found for _, found in batch if isinstance(found, Skipped)]
                labels = {
                    id_: fo.Heatmap(map=found, range=[0, 255])
                    if kind == DOUBT
                    else fo.Segmentation(mask=found)
                    for id_, found in done.items()
                }
                all_samples(dataset).set_values(name, labels, key_field="id")
                images += len(done)
                stage.update(len(batch))
        if not images:
            remove_overlay(dataset, name)
            reason = f": {skipped[0].reason}" if skipped else ""
            raise UsageError(f"no image could be drawn{reason}")
        made = Overlay(name, kind, field, other or "", images, tuple(skipped))
        _name_classes(dataset, made)
    return made


def list_overlays(dataset: Dataset, field: str | None = None) -> list[Overlay]:
    """Return the overlays of a dataset, those that show the masks of a field if one is named."""
    found = []
    for name, each in dataset.get_field_schema().items():
        mark = (each.info or {}).get(MARK)
        if isinstance(mark, Mapping) and {"kind", "field", "other"} <= set(mark):
            found.append(Overlay(name, str(mark["kind"]), str(mark["field"]), str(mark["other"])))
    return [each for each in found if field is None or field in (each.field, each.other)]


def remove_overlay(dataset: Dataset, name: str) -> None:
    """Take an overlay away.

    Raises:
        UsageError: there is none of this name; other fields are never removed.
    """
    if name not in {each.name for each in list_overlays(dataset)}:
        raise UsageError(f"{name!r} is no overlay of pseudo-masks: it stays")
    dataset.delete_sample_field(name)
    forget_classes(dataset, name)


def _checked(dataset: Dataset, field: str, other: str | None) -> str:
    import fiftyone as fo

    if not other or other == field:
        raise UsageError(f"name the masks that {field!r} is compared with")
    if other not in dataset.get_field_schema(embedded_doc_type=fo.Segmentation):
        raise UsageError(f"{other!r} is no segmentation field of {dataset.name!r}")
    return other


def _free(dataset: Dataset, stem: str, mark: dict[str, str]) -> str:
    """Return a name that is free, which that of an overlay of the same kind is after it was taken away."""
    for each in list_overlays(dataset):
        if {"kind": each.kind, "field": each.field, "other": each.other} == mark:
            remove_overlay(dataset, each.name)
    return next(name for name in numbered(stem) if not dataset.has_sample_field(name))


def _name_classes(dataset: Dataset, overlay: Overlay) -> None:
    """Name the ids of an overlay, and colour outlines as their masks are."""
    if overlay.kind == OUTLINES:
        write_classes(dataset, overlay.name, dataset.mask_targets.get(overlay.field) or {})
    elif overlay.kind == DOUBT:
        write_scale(dataset, overlay.name, DOUBT_COLOURS)
    else:
        names = ("another class", f"only in {overlay.field}", f"only in {overlay.other}")
        write_classes(dataset, overlay.name, dict(enumerate(names, OTHER_CLASS)))


# ---------------------------------------------------------------------- drawing

Made = Iterator[tuple[str, np.ndarray | Skipped]]
T = TypeVar("T")


def reduced(drawn: np.ndarray) -> np.ndarray:
    """Return every n-th pixel of a picture (H, W), so that no side is longer than :data:`SIDE`."""
    step = -(-max(drawn.shape) // SIDE)
    return np.ascontiguousarray(drawn[::step, ::step])


def outlines(mask: np.ndarray) -> np.ndarray:
    """Return the ids of a mask (H, W) where another one is near, else 0."""
    from ..masks.regions import near_boundary

    mask = reduced(mask)
    edge = near_boundary(mask, max(1, max(mask.shape) // LINES))
    return np.where(edge, mask, 0).astype(mask.dtype)


def doubts(confidence: np.ndarray, middle: float) -> np.ndarray:
    """Return (H, W) uint8, the more the less confidence (H, W), 0..255, there is; from the middle on 0."""
    doubt = 255 * (1 - confidence.astype(np.float32) / max(middle, 1.0))
    return reduced(np.clip(np.rint(doubt), 0, 255).astype(np.uint8))


def differences(a: np.ndarray, b: np.ndarray, pairs: Mapping[int, int], unlabelled: set[int]) -> np.ndarray:
    """Return where two masks of (H, W) ids differ.

    ``pairs`` are id in ``a`` -> the id in ``b`` that it stands for, ``unlabelled`` ids in ``b`` next to which
    nothing differs.

    Returns:
        (H, W) uint8: 0 the same, 1 another class, 2 a class in ``a`` alone, 3 one in ``b`` alone.
    """
    ids, index = np.unique(a, return_inverse=True)
    targets = np.array([pairs.get(int(id_), -1) for id_ in ids], np.int64)[index].reshape(a.shape)
    found = np.where(targets == b, 0, OTHER_CLASS).astype(np.uint8)
    found[(a == 0) & (found > 0)] = ONLY_SECOND
    found[(b == 0) & (a != 0) & (found > 0)] = ONLY_FIRST
    found[np.isin(b, list(unlabelled))] = 0
    return reduced(found)


def _drawn(
    view: View, a: str, b: str, draw: Callable[[np.ndarray, np.ndarray], T]
) -> Iterator[tuple[str, T | Skipped]]:
    from ..evaluation.fiftyone_masks import field_rules, map_mask_pairs

    rules = field_rules(view, a), field_rules(view, b)
    for id_, _, _, found in map_mask_pairs(view, a, b, draw, rules=rules):
        if found is not None:
            yield id_, found


def _differences(view: View, a: str, b: str) -> Made:
    from ..evaluation.comparison import count_pair, match_classes
    from ..evaluation.matching import majority
    from ..evaluation.per_image import ImageCounts

    images = ImageCounts()
    for id_, table in _drawn(view, a, b, count_pair):
        if not isinstance(table, Skipped):
            images.append(id_, table)
    table, unlabelled = images.total(), set[int]()
    if b in finished_fields(view._dataset):
        pairs = match_classes(table)
    else:
        names = {int(id_) for id_ in view._dataset.mask_targets.get(b) or {}}
        unlabelled = {id_ for id_ in table.true_ids.tolist() if (id_ not in names if names else id_ == 0)}
        kept = table.counts.copy()
        kept[:, np.isin(table.true_ids, list(unlabelled))] = 0
        pairs = majority(type(table)(table.pred_ids, table.true_ids, kept)) | {0: -1}
    yield from _drawn(view, a, b, partial(differences, pairs=pairs, unlabelled=unlabelled))


def _doubts(view: View, confidence: str) -> Made:
    from ..masks.files import read_mask

    if not view._dataset.has_sample_field(confidence):
        raise UsageError(f"this run has no maps of confidence: there is no field {confidence!r}")

    ids, paths = view.exists(confidence).values(["id", f"{confidence}.map_path"])
    values = []
    for path in paths[:: max(1, len(paths) // SAMPLE)]:
        with suppress(ImageReadError, UsageError):  # told where it is drawn
            values.append(read_mask(str(path))[::4, ::4].ravel())
    middle = float(np.median(np.concatenate(values))) if values else 0.0
    for id_, path in zip(ids, paths, strict=True):
        try:
            drawn: np.ndarray | Skipped = doubts(read_mask(str(path)), middle)
        except (ImageReadError, UsageError) as error:
            drawn = Skipped(id_, str(error))
        yield id_, drawn
