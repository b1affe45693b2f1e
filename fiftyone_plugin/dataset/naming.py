"""Clusters under the names of the classes they were matched with, beside the original field."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import fiftyone.core.fields as fof
import fiftyone.core.labels as fol
import fiftyone.core.validation as fov
import numpy as np

from ..common.parallel import batched
from ..errors import UsageError
from ..evaluation.matching import Mapping
from ..images.listing import all_samples
from ..masks.files import load_mask, write_mask
from .colours import write_classes
from .database import database_errors
from .journal import at_work
from .record import RunFields
from .recovery import PENDING, recover
from .summary import ids_of

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection as View

__all__ = ["apply_mapping"]

# samples whose labels are held at once
BATCH = 64
MARK = "pseudomask_renames"


def apply_mapping(
    samples: View,
    field: str,
    mapping: Mapping,
    new_field: str | None = None,
    *,
    output_dir: str | Path | None = None,
) -> str:
    """Show the clusters of a Segmentation field under the names of their classes, in a field of its own.

    The original field, its masks and its mask targets are not touched. By default the new field uses the same
    mask files (masks in the database are copied) and only its mask targets differ, so that ids stay cluster
    ids and several may share a name. With ``output_dir`` new masks are written, whose ids are class ids.

    Args:
        samples: a FiftyOne dataset or view.
        field: Segmentation field of clusters.
        mapping: clusters to classes, e.g. ``results.mapping``.
        new_field: default ``<field>_named``; replaced if it comes from an earlier call.
        output_dir: folder for masks of class ids, ``<sample id>.png``; clusters without a class become 0.

    Returns:
        the name of the new field.

    Raises:
        UsageError: ``new_field`` exists and does not come from here.
        ValueError: ``field`` does not exist or holds no segmentations.
    """
    new_field = new_field or RunFields(field).named
    with database_errors("Name the classes again once it does"), at_work() as holder:
        recover(samples._root_dataset)
        fov.validate_collection_label_fields(samples, field, fol.Segmentation)
        info: dict[str, object] = {MARK: field, "protocol": mapping.protocol}
        _declare(samples._root_dataset, field, new_field, {**info, PENDING: {"holder": holder}})
        _fill(samples, field, mapping, new_field, Path(output_dir) if output_dir else None)
        _declare(samples._root_dataset, field, new_field, info)
    return new_field


def _fill(samples: View, field: str, mapping: Mapping, new_field: str, output_dir: Path | None) -> None:
    dataset = samples._root_dataset
    for ids in batched(samples.values("id"), BATCH):
        # in the order of the batch, masks included
        found, labels = all_samples(dataset).select(ids).values(["id", field])
        renamed = {
            id_: _renamed(label, mapping, output_dir / f"{id_}.png" if output_dir else None)
            for id_, label in zip(found, labels, strict=True)
            if label is not None
        }
        dataset.set_values(new_field, renamed, key_field="id")
    targets = mapping.names if output_dir else _cluster_names(dataset, field, mapping)
    write_classes(dataset, new_field, dict(sorted(targets.items())))


def _declare(dataset: Dataset, field: str, new_field: str, info: dict[str, object]) -> None:
    """Add the field with what is known of it, or note that in the one of an earlier call."""
    existing = dataset.get_field(new_field)
    if existing is not None and (existing.info or {}).get(MARK) != field:
        raise UsageError(
            f"the field {new_field!r} exists and does not rename {field!r}: take another name for it"
        )
    if existing is None:
        dataset.add_sample_field(
            new_field,
            fof.EmbeddedDocumentField,
            embedded_doc_type=fol.Segmentation,
            description=f"{field}, clusters named by class",
            info=info,
        )
        return
    existing.info = info
    existing.save()


def _renamed(label: fol.Segmentation, mapping: Mapping, path: Path | None) -> fol.Segmentation | None:
    if path is None:
        return fol.Segmentation(mask=label.mask, mask_path=label.mask_path)
    mask = load_mask(label.mask_path, label.mask)
    if mask is None:
        return None
    write_mask(path, np.asarray(mapping.apply_to_mask(mask)))
    return fol.Segmentation(mask_path=str(path.resolve()))


def _cluster_names(dataset: Dataset, field: str, mapping: Mapping) -> dict[int, str]:
    """Return the name of every cluster known: its class, or its old name and that it has none."""
    old = ids_of(dataset.mask_targets.get(field) or {})
    names = {}
    for cluster in {*old, *mapping.clusters}:
        if cluster == 0 and 0 not in mapping.clusters:
            names[0] = old[0]
            continue
        target = mapping.target(cluster)
        alone = f"{old.get(cluster, cluster)} (no class)"
        names[cluster] = alone if target is None else mapping.names.get(target, str(target))
    return names
