"""A FiftyOne dataset or view as the source of an export, read in batches."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..common.parallel import batched
from ..common.skipped import Skipped
from ..dataset.editing.history import run_names
from ..dataset.keys import run_key
from ..dataset.record import RunFields
from ..errors import UsageError
from ..evaluation.fiftyone_masks import field_rules, stored_masks, with_stored_mask
from ..images.listing import ViewItem, list_view
from .base import ExportItem, ExportSource, known_quality
from .categories import parse_mask_targets

if TYPE_CHECKING:
    import fiftyone as fo
    import fiftyone.core.collections as foc


__all__ = ["segmentation_field", "view_source"]

logger = logging.getLogger(__name__)

BATCH = 500


def segmentation_field(collection: foc.SampleCollection, field: str | None) -> str:
    """Return the field to export: the one named, or the only segmentation field.

    Raises:
        UsageError: it does not exist, is no Segmentation field, or there are several.
    """
    import fiftyone as fo

    fields: list[str] = list(collection.get_field_schema(embedded_doc_type=fo.Segmentation))
    listed = ", ".join(fields) or "none"
    if field is None:
        if len(fields) != 1:
            raise UsageError(f"name the field to export; segmentation fields here: {listed}")
        return fields[0]
    if field not in fields:
        raise UsageError(f"{field!r} is no segmentation field; there are: {listed}")
    return field


def view_source(
    view: foc.SampleCollection,
    field: str | None = None,
    *,
    instances_field: str | None = None,
    quality_field: str | None = None,
) -> ExportSource:
    """Read the samples of a dataset or view, sorted by the path of their image.

    Args:
        view: dataset or view of images.
        field: Segmentation field with class ids; ``None`` if there is only one.
        instances_field: Segmentation field with instance ids (0: none), where there is one.
        quality_field: float field in [0, 1]; ``None`` for ``<field>_quality`` if it exists. Values that are
            no such number count as unknown; how many stands in ``provenance``.

    Raises:
        UsageError: not images, no such field, or a field for the quality that holds no quality at all.
    """
    field = segmentation_field(view, field)
    if instances_field is not None:
        segmentation_field(view, instances_field)
    quality_field = _quality_field(view, field, quality_field)
    entries = list_view(view)
    dataset = view._dataset
    targets = dataset.mask_targets.get(field) or dataset.default_mask_targets
    skipped = [
        Skipped(entry.item.key, "another sample of the same file is exported")
        for entry in entries
        for _ in entry.sample_ids[1:]
    ]
    without = set(view.exists(field, False).values("id"))
    skipped += [Skipped(entry.item.key, "no mask") for entry in entries if entry.sample_ids[0] in without]
    entries = [entry for entry in entries if entry.sample_ids[0] not in without]
    provenance: dict[str, object] = {"field": field}
    if dataset.has_run(run_key(field)):
        provenance["run"] = run_key(field)
        provenance["config"] = dataset.get_run_info(run_key(field)).config.serialize()
    return ExportSource(
        name=dataset.name,
        items=lambda: _items(view, entries, field, instances_field, quality_field),
        total=len(entries),
        names=parse_mask_targets(targets) if targets else None,
        rules=field_rules(view, field),
        supercategories=_supercategories(dataset),
        folders=_folders(view, entries, field),
        skipped=skipped,
        # masks that no run of ours wrote may have colours for targets
        hidden=tuple(run_names(dataset, field).hidden) if "run" in provenance else (),
        provenance=provenance | _unknown_qualities(view, quality_field),
    )


def _quality_field(view: foc.SampleCollection, field: str, wanted: str | None) -> str | None:
    """Return the field for the quality: the one asked for, or that of a run if there is one."""
    import fiftyone as fo

    schema = view.get_field_schema()
    name = wanted or RunFields(field).quality
    if isinstance(schema.get(name), fo.FloatField | fo.IntField):
        return name
    if wanted is None:
        return None
    if name not in schema:
        raise UsageError(f"there is no field {name!r} for the quality of masks")
    raise UsageError(f"field {name!r} cannot be the quality of masks: it holds no numbers")


def _unknown_qualities(view: foc.SampleCollection, quality_field: str | None) -> dict[str, int]:
    """Count values that are there and no quality.

    Raises:
        UsageError: all of them are none.
    """
    if quality_field is None:
        return {}
    given = [value for value in view.values(quality_field) if value is not None]
    wrong = [value for value in given if known_quality(value) is None]
    if wrong and len(wrong) == len(given):
        raise UsageError(f"field {quality_field!r} cannot be the quality of masks: no value is within 0..1")
    if wrong:
        logger.warning(
            "%d of %d values of %r are not within 0..1, e.g. %s: they count as unknown",
            len(wrong), len(given), quality_field, wrong[0],
        )  # fmt: skip
    return {"qualities_unknown": len(wrong)} if wrong else {}


def _folders(view: foc.SampleCollection, entries: list[ViewItem], field: str) -> tuple[Path, ...]:
    """Return the folders that hold images and masks."""
    images = {os.path.dirname(entry.item.path) for entry in entries}
    masks = {os.path.dirname(path) for path in view.values(f"{field}.mask_path") if path}
    return tuple(map(Path, sorted(images | masks)))


def _items(
    view: foc.SampleCollection,
    entries: list[ViewItem],
    field: str,
    instances_field: str | None,
    quality_field: str | None,
) -> Iterator[ExportItem]:
    confident = view.has_field(f"{field}_confidence")
    for batch in batched(entries, BATCH):
        ids = [entry.sample_ids[0] for entry in batch]
        samples = view.select(ids)
        map_path = f"{field}_confidence.map_path"
        columns = ["id", "tags", quality_field or "id", map_path if confident else "id"]
        rows = {row[0]: row[1:] for row in zip(*samples.values(columns), strict=True)}
        masks = _masks(samples, field)
        instances = _masks(samples, instances_field) if instances_field else {}
        for entry in batch:
            sample_id = entry.sample_ids[0]
            tags, quality, confidence = rows[sample_id]
            yield ExportItem(
                entry.item.key,
                entry.item.mask_name.removesuffix(".png"),
                entry.item.path,
                masks[sample_id],
                instances.get(sample_id),
                tuple(tags),
                known_quality(quality) if quality_field else None,
                confidence=confidence if confident else None,
            )


def _masks(samples: foc.SampleCollection, field: str) -> dict[str, str | np.ndarray]:
    """Return sample id -> path of the mask, or the mask itself where the database holds it."""
    # an empty label has neither: its missing file is reported when it is read
    paths = zip(*samples.values(["id", f"{field}.mask_path"]), strict=True)
    found = {sample_id: path or "no mask in the label" for sample_id, path in paths}
    return found | stored_masks(samples, list(with_stored_mask(samples, field)), field)


def _supercategories(dataset: fo.Dataset) -> dict[str, str]:
    """Return the supercategories that an import of COCO has left in the dataset's info."""
    categories = (dataset.info or {}).get("categories") or []
    return {
        entry["name"]: entry["supercategory"]
        for entry in categories
        if isinstance(entry, dict) and entry.get("name") and entry.get("supercategory")
    }
