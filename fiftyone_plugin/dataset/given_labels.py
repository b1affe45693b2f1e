"""Labels that a person has given to samples, as masks to learn from: masks, detections, polylines."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ImageReadError, UsageError
from ..evaluation.fiftyone_masks import field_rules
from ..images.listing import ViewItem, all_samples
from ..images.reading import image_size
from ..masks.files import load_mask
from ..runs.labels import GivenLabels, Mask, read_labels
from .editing.claims import place_instance
from .summary import ids_of

if TYPE_CHECKING:
    import fiftyone as fo
    from fiftyone.core.collections import SampleCollection as View

__all__ = ["labels_of_view"]

KINDS = ("Segmentation", "Detections", "Polylines")
STROKE = 0.005  # width of an open polyline, as a share of the longer side


def labels_of_view(
    view: View,
    entries: list[ViewItem],
    labels: str | Path,
    *,
    ignore: Collection[int],
    discover: int = 0,
    names: str | Path | Mapping[int, str] | None = None,
) -> GivenLabels:
    """Return the labels of the samples of a view that have any.

    Of detections those with an instance mask count, of polylines closed and filled ones with what is inside,
    and open ones as strokes; what none of them covers is unlabelled.

    ``entries`` are the images of the view, see :func:`~..images.listing.list_view`; ``labels`` is a field of
    labels, or a folder of masks. ``ignore``, ``discover`` and ``names`` are those of
    :func:`~..runs.labels.read_labels`; without names, the mask targets of the field tell them.

    Raises:
        UsageError: no such field or folder, a field of another kind, or as ``read_labels``.
    """
    items = [entry.item for entry in entries]
    dataset = view._dataset
    if not dataset.has_sample_field(str(labels)):
        if not Path(labels).is_dir():
            raise UsageError(f"{dataset.name!r} has no field {str(labels)!r}, and there is no such folder")
        return read_labels(items, Path(labels), names=names, ignore=ignore, discover=discover)
    field = str(labels)
    kind = getattr(dataset.get_field(field), "document_type", type(None)).__name__
    if kind not in KINDS:
        raise UsageError(f"labels are learnt from fields of {', '.join(KINDS)}; {field!r} holds {kind}")
    targets = dataset.mask_targets.get(field) or dataset.default_mask_targets or {}
    keys = {id_: entry.item.key for entry in entries for id_ in entry.sample_ids}
    samples = all_samples(view).exists(field)
    if kind == "Segmentation":
        masks = _masks(samples, field, keys)
        wanted = names if names is not None else ids_of(targets) or None
    else:
        ids = _ids(samples, field, kind, targets)
        masks = _drawn(samples, field, keys, ids)
        wanted = {id_: name for name, id_ in ids.items()}
        ignore = [0]
    if not masks:
        raise UsageError(f"no sample of the view has labels in {field!r} to learn from: label some first")
    return read_labels(items, masks, names=wanted, ignore=ignore, discover=discover)


def _masks(samples: View, field: str, keys: Mapping[str, str]) -> dict[str, Mask]:
    rules = field_rules(samples, field)
    if rules.colours:
        raise UsageError(f"the masks of {field!r} are colours; labels are learnt from masks of ids")
    found: dict[str, Mask] = {}
    for sample in samples.select_fields(field):
        label = sample[field]
        if label.mask is None and label.mask_path is not None:
            found[keys[sample.id]] = Path(label.mask_path)
        elif (mask := load_mask(None, label.mask, rules)) is not None:
            found[keys[sample.id]] = mask
    return found


def _ids(samples: View, field: str, kind: str, targets: Mapping[int, object]) -> dict[str, int]:
    """Return name -> id: those of mask targets, and new ones behind them."""
    ids = {name: id_ for id_, name in ids_of(targets).items() if id_}
    part = "detections" if kind == "Detections" else "polylines"
    for name in sorted(str(name) for name in samples.distinct(f"{field}.{part}.label") if name):
        ids.setdefault(name, max(ids.values(), default=0) + 1)
    return ids


def _drawn(samples: View, field: str, keys: Mapping[str, str], ids: Mapping[str, int]) -> dict[str, Mask]:
    """Return the masks of samples, drawn in the order of their labels: later ones lie on top."""
    found: dict[str, Mask] = {}
    for sample in samples.select_fields(field):
        try:
            mask = np.zeros(image_size(sample.filepath), np.uint16)
        except ImageReadError:  # whoever labels the image says why
            continue
        shapes = sample[field].detections if "detections" in sample[field] else sample[field].polylines
        for shape in shapes:
            if shape.label in ids:
                draw = _paste if hasattr(shape, "bounding_box") else _fill
                draw(mask, shape, ids[shape.label])
        if mask.any():
            found[keys[sample.id]] = mask
    return found


def _paste(mask: np.ndarray, detection: fo.Detection, id_: int) -> None:
    """Draw the instance mask of a detection; without one, nothing is known of its pixels."""
    instance = detection.get_mask()
    if instance is not None:
        claim = place_instance(detection.bounding_box, np.asarray(instance), mask.shape, id_)
        if claim is not None:
            mask[claim.box][claim.mask] = id_


def _fill(mask: np.ndarray, polyline: fo.Polyline, id_: int) -> None:
    import cv2

    height, width = mask.shape
    for points in polyline.points:
        pixels = np.round(np.asarray(points, float) * (width, height) - 0.5).astype(np.int32)[:, None]
        if polyline.closed or polyline.filled:
            cv2.fillPoly(mask, [pixels], id_)
        else:
            cv2.polylines(mask, [pixels], False, id_, max(1, round(STROKE * max(height, width))))
