"""Masks from outside into a Segmentation field of a FiftyOne dataset."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import Any

from ..common.matching import match_names
from ..dataset.imports import check_replaceable, import_folders, remove_import
from ..datasets import METHOD, ViewItem, default_out, list_view
from ..errors import UsageError
from ..images import image_extensions, image_size
from ..parallel import batched
from ..progress import Progress
from ..sources import ImageItem, list_images
from ..view_check import all_samples
from .importing import ImportResult, MaskSource, open_masks, read_masks
from .items import Skipped

__all__ = ["import_masks"]

WRITE_BATCH = 1000


def import_masks(
    view: Any,
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
            :func:`fiftyone_plugin.export.importing.open_masks`.
        field: the field to write.
        out: folder for the masks; ``None`` for a new one below FiftyOne's default dataset folder.
        overwrite: replace an earlier import in ``field`` and in ``out``. Its masks go unless another field
            or dataset shows them; a field with other masks is never written over.
        progress: where stages report to.

    Returns:
        What was read; ``skipped`` lists masks without a sample of their own in the view, and those that do
        not fit, and annotations that are in no mask.

    Raises:
        UsageError: not images, the field exists or holds something else than an import, another field or
            dataset shows the masks in ``out``, or no mask belongs to a sample.
        PseudoMaskError: ``out`` cannot be written, or no mask could be read.
    """
    import fiftyone as fo

    dataset = view._dataset
    if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]*", field):
        raise UsageError(f"{field!r} cannot be a field name: use letters, digits and _")
    if dataset.has_run(f"{METHOD}_{field}"):
        raise UsageError(f"field {field!r} belongs to a run of label_dataset; import into another field")
    earlier = _earlier(dataset, field, overwrite) if dataset.has_sample_field(field) else {}
    entries = {os.path.normcase(entry.item.path): entry for entry in list_view(view)}
    opened = open_masks(source)
    found, left = _match(opened, dataset, entries)
    if not found:
        first = left[0]
        raise UsageError(
            f"no mask of {source} has the name of an image of its own, e.g. {first.key!r}: {first.reason}; "
            f"images are named like {next(iter(entries.values())).item.path!r}"
        )
    opened.paths = {stem: entry.item.path for stem, entry in found.items()}
    opened.lost += left
    opened.read = _checked(opened.read, opened.paths)
    folder = Path(out) if out is not None else default_out(dataset, field, uuid.uuid4().hex)
    if out is not None:
        check_replaceable(dataset, field, folder.absolute())
    stems = {stem: entry.item.mask_name.removesuffix(".png") for stem, entry in found.items()}
    result = read_masks(opened, folder, stems=stems, overwrite=overwrite, progress=progress)
    dataset.add_sample_field(field, fo.EmbeddedDocumentField, embedded_doc_type=fo.Segmentation)
    pairs = [(sample_id, path) for stem, path in result.masks.items() for sample_id in found[stem].sample_ids]
    samples = all_samples(dataset)
    _clear_replaced(samples, field, {*earlier, result.out}, {sample_id for sample_id, _ in pairs})
    for batch in batched(pairs, WRITE_BATCH):
        labels = {sample_id: fo.Segmentation(mask_path=str(path)) for sample_id, path in batch}
        samples.set_values(field, labels, key_field="id")
    dataset.mask_targets = {**dataset.mask_targets, field: result.names}
    dataset.save()
    result.matched = len(pairs)
    for replaced, masks in earlier.items():
        if replaced != result.out:
            remove_import(dataset, replaced, masks)
    return result


def _earlier(dataset: Any, field: str, overwrite: bool) -> dict[Path, list[str]]:
    """Return the folders of the imports that are to be replaced, with the masks that are shown of each."""
    import fiftyone as fo

    if not overwrite:
        raise UsageError(f"field {field!r} exists: choose another name, or overwrite it")
    if field not in dataset.get_field_schema(embedded_doc_type=fo.Segmentation):
        raise UsageError(f"field {field!r} holds something else than masks: choose another name")
    return import_folders(dataset, field)


def _clear_replaced(samples: Any, field: str, folders: set[Path], written: set[str]) -> None:
    """Empty the field where its mask is of an import that is replaced."""
    rows = zip(*samples.values(["id", f"{field}.mask_path"]), strict=True)
    gone = {
        sample_id: None
        for sample_id, path in rows
        if path and sample_id not in written and not folders.isdisjoint(Path(path).parents)
    }
    if gone:
        samples.set_values(field, gone, key_field="id")


def _checked(read: Any, images: dict[str, str]) -> Any:
    """Return ``read`` with a comparison of sizes, where the image is there to compare with."""

    def checked(stem: str) -> Any:
        mask = read(stem)
        path = images[stem]
        if os.path.exists(path) and mask.shape != image_size(path):
            raise UsageError(f"mask of shape {mask.shape}, image {path} of {image_size(path)}")
        return mask

    return checked


def _match(
    opened: MaskSource, dataset: Any, entries: dict[str, ViewItem]
) -> tuple[dict[str, ViewItem], list[Skipped]]:
    """Return stem of a mask -> the image of the view that it is of, and why others have none.

    Names are looked up in the whole dataset: what is one image there may look like another one in a view.
    """
    items = list_images(all_samples(dataset).values("filepath"))
    paths = {(item.path, os.path.normcase(item.path)) for item in items}
    named = [*items, *(entry.item for entry in entries.values())]
    paths |= {(path, os.path.normcase(item.path)) for item in named if (path := _exported(item))}
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


def _exported(item: ImageItem) -> str | None:
    """Return the path of an image under the name that exports give it, where that is another one."""
    stem, suffix = item.mask_name.removesuffix(".png"), os.path.splitext(item.key)[1]
    if suffix.lower() not in image_extensions():
        suffix = ""  # exports put one of their own in its place
    if stem + suffix == item.key:
        return None
    return os.path.join(os.path.dirname(item.path), stem.rsplit("/", 1)[-1] + suffix)
