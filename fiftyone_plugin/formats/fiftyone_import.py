"""Masks from outside into a Segmentation field of a FiftyOne dataset."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..common.matching import match_names
from ..common.parallel import batched
from ..common.progress import Progress
from ..common.skipped import Skipped
from ..dataset.claiming import default_out
from ..dataset.database import database_errors, dataset_id
from ..dataset.keys import run_key
from ..dataset.ownership import shown_by
from ..dataset.record import check_field_name
from ..errors import UsageError
from ..images.listing import ImageItem, ViewItem, all_samples, list_images, list_view
from ..images.reading import image_extensions, image_size
from .earlier import EarlierImport
from .importing import ImportResult, MaskSource, open_masks, read_masks

if TYPE_CHECKING:
    import fiftyone as fo
    import fiftyone.core.collections as foc


__all__ = ["import_masks"]

WRITE_BATCH = 1000


@database_errors("Once it does, import again, over the field if it is there")
def import_masks(
    view: foc.SampleCollection,
    source: str | Path,
    field: str = "imported_mask",
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ImportResult:
    """Read masks or a COCO file into a Segmentation field, e.g. an export that another tool has corrected.

    Names and samples match as :mod:`fiftyone_plugin.common.matching` says: by absolute path, or by the
    longest tail of the path that one image of the whole dataset has; what may be several images is left out.
    The masks are written to ``out`` and named by ``mask_path``; the class names become the field's mask
    targets.

    Args:
        view: dataset or view of images.
        source: a COCO file, a VOC folder, or a folder of masks, see
            :func:`fiftyone_plugin.formats.importing.open_masks`.
        field: the field to write.
        out: folder for the masks; ``None`` for a new one in FiftyOne's default dataset folder. One whose
            masks another field or dataset shows is refused.
        overwrite: write into a field that exists. What an earlier import has put there is replaced; its files
            go, unless something else shows them. Labels of other origin are never written over: where the
            import has masks for their samples it is refused, else they stay.
        progress: where stages report to.

    Returns:
        What was read; ``skipped`` lists masks without a sample of their own in the view, and those that do
        not fit, and annotations that are in no mask.

    Raises:
        UsageError: not images, the field exists or is no Segmentation, no mask belongs to a sample, or labels
            that stay in the field have other names for its ids.
        PseudoMaskError: ``out`` cannot be written, or no mask could be read.
        MissingDependencyError: FiftyOne's database does not answer.
    """
    import fiftyone as fo

    dataset = view._dataset
    check_field_name(field)
    if dataset.has_run(run_key(field)):
        raise UsageError(f"field {field!r} belongs to a run of label_dataset; import into another field")
    if dataset.has_sample_field(field):
        if not overwrite:
            raise UsageError(f"field {field!r} exists: choose another name, or overwrite it")
        if field not in dataset.get_field_schema(embedded_doc_type=fo.Segmentation):
            raise UsageError(f"field {field!r} holds something else than masks: choose another name")
    opened, found = _open(view, source)
    earlier = EarlierImport.of(dataset, field)
    folder = Path(out) if out is not None else default_out(dataset, field, uuid.uuid4().hex)
    shown = shown_by(dataset, str(folder.absolute()), but=field) if folder.exists() else ""
    if shown:
        raise UsageError(f"{folder} holds masks that {shown} shows; choose another folder, or name none")
    given = {sample_id for entry in found.values() for sample_id in entry.sample_ids}
    lost = given & earlier.foreign
    if lost:
        raise UsageError(
            f"{field!r} holds masks that no import wrote, on {len(lost)} of these samples: "
            "choose another name"
        )
    _targets(dataset, field, opened.names, earlier, given)
    stems = {stem: entry.item.mask_name.removesuffix(".png") for stem, entry in found.items()}
    same = dataset_id(dataset)
    result = read_masks(opened, folder, stems=stems, overwrite=overwrite, progress=progress, dataset_id=same)
    result.matched = _write(dataset, field, found, result, earlier)
    return result


def _open(view: foc.SampleCollection, source: str | Path) -> tuple[MaskSource, dict[str, ViewItem]]:
    """Open a source, and return stem of a mask -> the image of the view that it is of.

    Raises:
        UsageError: no mask is of an image of the view.
    """
    entries = {os.path.normcase(entry.item.path): entry for entry in list_view(view)}
    opened = open_masks(source)
    found, left = _match(opened, view._dataset, entries)
    if not found:
        first = left[0]
        raise UsageError(
            f"no mask of {source} has the name of an image of its own, e.g. {first.key!r}: {first.reason}; "
            f"images are named like {next(iter(entries.values())).item.path!r}"
        )
    opened.paths = {stem: entry.item.path for stem, entry in found.items()}
    opened.lost += left
    opened.read = partial(_read_checked, opened.read, opened.paths)
    return opened, found


def _write(
    dataset: fo.Dataset, field: str, found: dict[str, ViewItem], result: ImportResult, earlier: EarlierImport
) -> int:
    """Show the masks that were read in a field, instead of those of an earlier import; returns how many."""
    import fiftyone as fo

    dataset.add_sample_field(field, fo.EmbeddedDocumentField, embedded_doc_type=fo.Segmentation)
    pairs = [(sample_id, path) for stem, path in result.masks.items() for sample_id in found[stem].sample_ids]
    samples = all_samples(dataset)
    written = {sample_id for sample_id, _ in pairs}
    targets = _targets(dataset, field, result.names, earlier, written)  # some masks could not be read
    if gone := dict.fromkeys(earlier.samples - written):
        samples.set_values(field, gone, key_field="id")
    for batch in batched(pairs, WRITE_BATCH):
        labels = {sample_id: fo.Segmentation(mask_path=str(path)) for sample_id, path in batch}
        samples.set_values(field, labels, key_field="id")
    dataset.mask_targets = {**dataset.mask_targets, field: {**result.names, **targets}}
    dataset.save()
    earlier.remove_files(dataset, result.out)
    return len(pairs)


def _targets(
    dataset: fo.Dataset, field: str, names: dict[int, str], earlier: EarlierImport, given: set[str]
) -> dict[int, str]:
    """Return the names that labels need which stay in the field.

    Raises:
        UsageError: an id has one name there and another one in what is imported.
    """
    if not dataset.has_sample_field(field):
        return {}
    staying = set(all_samples(dataset).exists(field).values("id")) - earlier.samples - given
    targets = dataset.mask_targets.get(field) if staying else None
    if not targets:
        return {}
    other = next((id_ for id_, name in names.items() if targets.get(id_, name) != name), None)
    if other is not None:
        raise UsageError(
            f"{len(staying)} labels stay in {field!r}, where id {other} is {targets[other]!r}, not "
            f"{names[other]!r}: import into another field"
        )
    return dict(targets)


def _read_checked(read: Callable[[str], np.ndarray], images: dict[str, str], stem: str) -> np.ndarray:
    """Return a mask, after a comparison of sizes where the image is there to compare with."""
    mask, path = read(stem), images[stem]
    if os.path.exists(path) and mask.shape != image_size(path):
        raise UsageError(f"mask of shape {mask.shape}, image {path} of {image_size(path)}")
    return mask


def _match(
    opened: MaskSource, dataset: fo.Dataset, entries: dict[str, ViewItem]
) -> tuple[dict[str, ViewItem], list[Skipped]]:
    """Return stem of a mask -> the image of the view that it is of, and why others have none.

    Names are looked up in the whole dataset: what is one image there may look like another one in a view.
    """
    items = list_images(all_samples(dataset).values("filepath"))
    named = [(item.path, item) for item in items]
    named += [(_exported(item), item) for item in (*items, *(entry.item for entry in entries.values()))]
    paths = {(path, os.path.normcase(item.path)) for path, item in named}
    matches = match_names(opened.images.values(), paths, what="sample")
    found: dict[str, ViewItem] = {}
    left: list[Skipped] = []
    for stem, name in opened.images.items():
        path = matches.found.get(name)
        if path is None:
            left.append(Skipped(stem, matches.left[name]))
        elif path in entries:
            found[stem] = entries[path]
        else:
            left.append(Skipped(stem, "its sample is not in the view", expected=True))
    return found, left


def _exported(item: ImageItem) -> str:
    """Return the path of an image under the name that exports give it."""
    stem, suffix = item.mask_name.removesuffix(".png"), os.path.splitext(item.key)[1]
    if suffix.lower() not in image_extensions():
        suffix = ""  # exports put one of their own in its place
    if stem + suffix == item.key:
        return item.path
    return os.path.join(os.path.dirname(item.path), stem.rsplit("/", 1)[-1] + suffix)
