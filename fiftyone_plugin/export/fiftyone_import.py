"""Masks from outside into a Segmentation field of a FiftyOne dataset."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from ..datasets import METHOD, default_out, list_view
from ..errors import UsageError
from ..parallel import batched
from ..progress import Progress
from .importing import ImportResult, open_masks, read_masks
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

    Masks and images match by the path below the folder of all images, without extension, as exports have it;
    where that finds nothing, by file name alone. The masks are written to ``out`` and named by ``mask_path``;
    the class names become the field's mask targets.

    Args:
        view: dataset or view of images.
        source: a COCO file, a VOC folder, or a folder of masks, see
            :func:`fiftyone_plugin.export.importing.open_masks`.
        field: the field to write.
        out: folder for the masks; ``None`` for one in FiftyOne's default dataset folder.
        overwrite: write into a field that exists, and replace an earlier import in ``out``.
        progress: where stages report to.

    Returns:
        What was read; ``skipped`` lists masks without a sample, and those that do not fit.

    Raises:
        UsageError: not images, the field exists, or no mask belongs to a sample.
        PseudoMaskError: ``out`` cannot be written, or no mask could be read.
    """
    import fiftyone as fo

    dataset = view._dataset
    if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]*", field):
        raise UsageError(f"{field!r} cannot be a field name: use letters, digits and _")
    if dataset.has_run(f"{METHOD}_{field}"):
        raise UsageError(f"field {field!r} belongs to a run of label_dataset; import into another field")
    if dataset.has_sample_field(field) and not overwrite:
        raise UsageError(f"field {field!r} exists: choose another name, or overwrite it")
    samples = {
        entry.item.mask_name.removesuffix(".png"): (entry.item.path, entry.sample_ids)
        for entry in list_view(view)
    }
    opened = open_masks(source)
    matches = _match(opened.stems, {stem: path for stem, (path, _) in samples.items()})
    if not matches:
        theirs, ours = opened.stems[0], next(iter(samples))
        raise UsageError(f"no mask of {source} has the name of an image, e.g. {theirs!r} and {ours!r}")
    opened.read = _checked(opened.read, {theirs: samples[ours][0] for theirs, ours in matches.items()})
    folder = Path(out) if out is not None else default_out(dataset, field)
    result = read_masks(opened, folder, stems=matches, overwrite=overwrite, progress=progress)
    result.skipped += [
        Skipped(stem, "no sample of this name") for stem in opened.stems if stem not in matches
    ]
    dataset.add_sample_field(field, fo.EmbeddedDocumentField, embedded_doc_type=fo.Segmentation)
    pairs = [
        (sample_id, path) for stem, path in result.masks.items() for sample_id in samples[matches[stem]][1]
    ]
    _clear_replaced(dataset, field, result.out, {sample_id for sample_id, _ in pairs})
    for batch in batched(pairs, WRITE_BATCH):
        labels = {sample_id: fo.Segmentation(mask_path=str(path)) for sample_id, path in batch}
        dataset.set_values(field, labels, key_field="id")
    dataset.mask_targets = {**dataset.mask_targets, field: result.names}
    dataset.save()
    result.matched = len(pairs)
    return result


def _clear_replaced(dataset: Any, field: str, folder: Path, written: set[str]) -> None:
    """Empty the field where its mask was in the folder of an earlier import, which is gone."""
    rows = zip(*dataset.values(["id", f"{field}.mask_path"]), strict=True)
    gone = {
        sample_id: None
        for sample_id, path in rows
        if path and sample_id not in written and folder in Path(path).parents
    }
    if gone:
        dataset.set_values(field, gone, key_field="id")


def _checked(read: Any, images: dict[str, str]) -> Any:
    """Return ``read`` with a comparison of sizes, where the image is there to compare with."""
    from ..images import image_size

    def checked(stem: str) -> Any:
        mask = read(stem)
        path = images[stem]
        if os.path.exists(path) and mask.shape != image_size(path):
            raise UsageError(f"mask of shape {mask.shape}, image {path} of {image_size(path)}")
        return mask

    return checked


def _match(theirs: list[str], ours: dict[str, str]) -> dict[str, str]:
    """Return stem in the source -> stem of the image: by the same path, the absolute path, or the file name.

    Names that are not unique on one of the sides do not match.
    """
    absolute = {
        PurePosixPath(Path(path).as_posix()).with_suffix("").as_posix(): s for s, path in ours.items()
    }
    matches = {stem: stem for stem in theirs if stem in ours}
    matches |= {stem: absolute[stem] for stem in theirs if stem not in matches and stem in absolute}
    if matches:
        return matches
    left, right = _by_name(theirs), _by_name(list(ours))
    return {left[name]: right[name] for name in left if name in right}


def _by_name(stems: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    twice = set()
    for stem in stems:
        name = PurePosixPath(stem).name
        if name in found:
            twice.add(name)
        found[name] = stem
    return {name: stem for name, stem in found.items() if name not in twice}
