"""Operator ``export_masks``: masks of the view in the formats of other tools."""

from __future__ import annotations

import base64
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import fiftyone as fo
import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.dataset.keys import run_key
from fiftyone_plugin.dataset.remembered import remembered
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.images.listing import all_samples

from .base import Messages, Outcome, PseudoMaskOperator, entry, images_of, once, say_images
from .forms.fields import cannot, choose, choose_noted, first_reasons, refuse, segmentation_fields, show_name
from .params import Params

__all__ = ["ExportMasks"]

DEFAULT_FORMAT = "coco-instances"
DOWNLOAD_BYTES = 8 << 20  # of labels, before they are packed; they travel inside a message to the browser
MEDIA_FOLDERS = ("images", "JPEGImages", "img_dir")
MAX_AREA = 10**9
MAX_SHARE = 0.9
WITH_OBJECTS = ("coco-instances", "coco-results", "coco-panoptic", "yolo")
NO_FIELD = "this dataset has no segmentation field: label it first"
MODES = {
    "copy": "into the export",
    "symlink": "links to where they are",
    "reference": "left where they are",
}


class ExportMasks(PseudoMaskOperator):
    """Write masks in the formats of other tools: to correct them, to train on, or plain PNG."""

    listed = entry("Export masks", "file_download", risk_level=RiskLevel.MEDIUM)
    title, done = "Export masks", "Export of masks"
    seconds_an_image = 0.012  # with images copied
    shown: ClassVar[dict[str, str]] = {
        "images": "Images exported",
        "annotations": "Segments",
        "classes": "Classes",
        "skipped": "Images left out",
        "reasons": "Why images were left out",
        "folder": "Written to",
        "download": "In your browser's downloads, without images",
    }

    def form(self, ctx: ExecutionContext, inputs: types.Object, params: Params) -> None:
        """Add the inputs; every value has a default."""
        from fiftyone_plugin.formats.registry import formats

        fields = segmentation_fields(ctx.dataset)
        if not fields:
            cannot(inputs, "field", NO_FIELD)
            return
        options = _Options.read(ctx, params)
        say_images(ctx, inputs, "Exports")
        choose(inputs, "field", fields, default=guess_field(ctx.dataset, fields), label="Masks")
        explained = {name: entry.description for name, entry in formats().items()}
        choose_noted(inputs, params, "format", explained, DEFAULT_FORMAT, "Format")
        text = f"On the machine of the App's server; empty: {options.folder}"
        inputs.str("out", label="Folder", description=text)
        text = "Replace an earlier export in this folder"
        inputs.bool("overwrite", default=False, label="Overwrite", description=text)
        choose(inputs, "images", list(MODES), notes=MODES, default="copy", label="Images")
        tags = _tags(ctx)
        if tags:
            accepted = "For instance those that were accepted"
            shown = {tag: show_name(tag) for tag in tags}
            choose(inputs, "tag", shown, label="Only samples tagged", description=accepted)
        text = "Pixels; smaller components are left out"
        inputs.int("min_area", default=0, min=0, label="Smallest component", description=text)
        text = "Masks below it are left out; empty: all are exported"
        inputs.float("min_quality", min=0, max=1, label="Lowest quality", description=text)
        text = "Pixels below it are unlabelled, or ignored in formats to train on"
        inputs.float("min_confidence", min=0, max=1, label="Lowest confidence", description=text)
        text = "Share of the images that is drawn for a split val, the others are train; empty: no splits"
        inputs.float("val", min=0, max=MAX_SHARE, label="Validation", description=text)
        if options.arguments["format"] in WITH_OBJECTS:
            text = (
                "Cut at their necks, so that touching objects of a class are several; else one is a component"
            )
            inputs.bool("instances", default=False, label="Instances", description=text)
        if options.named:
            _check_folder(inputs, options.folder, options.arguments["overwrite"])

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Export the view, and return what was written."""
        from fiftyone_plugin.formats import export

        options = _Options.read(ctx, params)
        view = images_of(ctx, options.field)
        view = view.match_tags(options.tag) if options.tag else view
        result = yield from self.run(
            ctx,
            lambda progress: export(
                view, options.field, out=options.folder, **options.arguments, progress=progress
            ),
        )
        summary = {
            "images": result.images,
            "annotations": result.annotations,
            "classes": len(result.categories),
            "skipped": len(result.skipped),
            "reasons": first_reasons(result.failed),
            "folder": str(result.out),
        }
        if not ctx.delegated:
            packed = pack_labels(result.out)
            if packed is not None:
                url = f"data:application/zip;base64,{base64.b64encode(packed).decode('ascii')}"
                summary["download"] = f"{result.out.name}.zip"
                yield ctx.ops.browser_download(url, filename=summary["download"])
            yield self.tell(ctx, summary)
        return summary

    def __call__(self, view: foc.SampleCollection, field: str, out: str, **params: object) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(view, field, out)`` with the folder of the export.

        Further values of the form: ``format``, ``overwrite``, ``images``, ``tag``, ``min_area``,
        ``min_quality``, ``min_confidence``, ``val``, ``instances``.
        """
        return self.call(view, params | {"field": field, "out": str(out)})


def guess_field(dataset: fo.Dataset, fields: list[str]) -> str:
    """Return the first field that a run of this plugin has filled, else the first."""
    return next((field for field in fields if dataset.has_run(run_key(field))), fields[0])


@dataclass(frozen=True)
class _Options:
    """What the form stands for: a folder that it ``named`` or not, a tag or none, and settings."""

    field: str
    folder: Path
    named: bool
    tag: str
    arguments: dict[str, Any]

    @classmethod
    def read(cls, ctx: ExecutionContext, params: Params) -> _Options:
        from fiftyone_plugin.formats.registry import formats

        fields = segmentation_fields(ctx.dataset)
        if not fields:
            raise UsageError(NO_FIELD)
        field = params.one_of("field", fields, guess_field(ctx.dataset, fields))
        kind = params.one_of("format", formats(), DEFAULT_FORMAT)
        arguments = {
            "format": kind,
            "overwrite": params.flag("overwrite"),
            "images": params.one_of("images", MODES, "copy"),
            "min_area": params.whole("min_area", 0, 0, MAX_AREA),
            "min_quality": params.number("min_quality", None, 0.0, 1.0),
            "min_confidence": params.number("min_confidence", 0.0, 0.0, 1.0),
            "val": params.number("val", 0.0, 0.0, MAX_SHARE),
            "instances": params.flag("instances") and kind in WITH_OBJECTS,
        }
        out = params.text("out")
        folder = Path(out) if out else default_folder(ctx.dataset, field, kind)
        return cls(field, folder, bool(out), params.one_of("tag", _tags(ctx), ""), arguments)


@once
def _tags(ctx: ExecutionContext) -> list[str]:
    find = all_samples(ctx.dataset).distinct  # looks at every sample
    return remembered(ctx.dataset, "tags", lambda: list(find("tags")))


def default_folder(dataset: fo.Dataset, field: str, kind: str) -> Path:
    """Return a folder that does not exist yet, below FiftyOne's default dataset folder."""
    parent = Path(fo.config.default_dataset_dir) / "pseudomask-exports" / dataset.slug
    folder, number = parent / f"{field}-{kind}", 2
    while folder.exists():
        folder = parent / f"{field}-{kind}-{number}"
        number += 1
    return folder


def pack_labels(folder: Path, limit: int = DOWNLOAD_BYTES) -> bytes | None:
    """Return a ZIP of an export without its images; ``None`` if it is too large for a download."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not _is_media(folder, path.relative_to(folder).parts)
    ]
    if sum(path.stat().st_size for path in files) > limit:
        return None
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, f"{folder.name}/{path.relative_to(folder).as_posix()}")
    return buffer.getvalue()


def _is_media(folder: Path, parts: tuple[str, ...]) -> bool:
    """Tell whether a file of an export is an image; Hugging Face has a folder of them in every split."""
    hugging_face = parts[1:2] == ("image",) and (folder / parts[0] / "metadata.jsonl").is_file()
    return parts[0] in MEDIA_FOLDERS or hugging_face


def _check_folder(inputs: types.Object, out: Path, overwrite: bool) -> None:
    """Mark the folder as invalid, with the reason, where the export would be refused."""
    from fiftyone_plugin.formats.staging import ExportFolder

    if not out.is_absolute():
        refuse(inputs, "out", "an absolute path, please: the server may run anywhere")
        return
    try:
        ExportFolder(out, overwrite=overwrite).check()
    except (UsageError, OSError, ValueError) as error:
        refuse(inputs, "out", str(error))
