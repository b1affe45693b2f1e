"""Operator ``export_masks``: masks of the view as COCO, VOC, YOLO or plain PNG."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.run_keys import run_key

from .evaluate_masks import segmentation_fields
from .forms import block, choose, refuse
from .progress import count_images, execution_options, run_with_progress, stream_or_run

__all__ = ["ExportMasks"]

DEFAULT_FORMAT = "coco-instances"
SECONDS_AN_IMAGE = 0.012  # on two cores, with images copied
DOWNLOAD_BYTES = 8 << 20  # of labels, before they are packed; they travel inside a message to the browser
MEDIA_FOLDERS = ("images", "JPEGImages")
LISTED = 5


class ExportMasks(foo.Operator):
    """Thin shell around :func:`fiftyone_plugin.export`."""

    @property
    def config(self) -> Any:
        """How the App shows and runs the operator."""
        return foo.OperatorConfig(
            name="export_masks",
            label="Export masks",
            description="Write masks as COCO instances, panoptic or stuff, Pascal VOC, YOLO or plain PNG",
            icon="file_download",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=RiskLevel.MEDIUM,
        )

    def resolve_execution_options(self, ctx: Any) -> Any:
        """Offer delegation first where the export would take long."""
        return execution_options(SECONDS_AN_IMAGE * count_images(ctx))

    def resolve_input(self, ctx: Any) -> Any:
        """Build the form; every value has a default."""
        inputs = types.Object()
        title = types.View(label="Export masks")
        fields = segmentation_fields(ctx.dataset) if ctx.dataset else []
        if not fields:
            message = "this dataset has no segmentation field: label it first"
            inputs.view("no_field", types.Error(label=message))
            block(inputs, "field", message)
            return types.Property(inputs, view=title)
        choose(inputs, "field", fields, default=guess_field(ctx.dataset), label="Masks")
        _format(ctx, inputs)
        out = ctx.params.get("out")
        inputs.str(
            "out",
            label="Folder",
            description=f"On the machine of the App's server; empty: {default_folder(ctx)}",
        )
        inputs.bool(
            "overwrite",
            default=False,
            label="Overwrite",
            description="Replace an earlier export in this folder",
        )
        modes = {
            "copy": "into the export",
            "symlink": "links to where they are",
            "reference": "left where they are",
        }
        choose(inputs, "images", list(modes), notes=modes, default="copy", label="Images")
        tags = ctx.dataset.distinct("tags")
        if tags:
            accepted = "For instance those that were accepted"
            choose(inputs, "tag", tags, label="Only samples tagged", description=accepted)
        inputs.int(
            "min_area",
            default=0,
            min=0,
            label="Smallest component",
            description="Pixels; smaller components are left out",
        )
        inputs.float(
            "min_quality",
            min=0,
            max=1,
            label="Lowest quality",
            description="Masks below it are left out; empty: all are exported",
        )
        if out:
            _check_folder(inputs, Path(out), bool(ctx.params.get("overwrite")))
        return types.Property(inputs, view=title)

    def execute(self, ctx: Any) -> Any:
        """Export the view: a stream of progress for the App, or the summary of a delegated run."""
        return stream_or_run(ctx, self._steps(ctx))

    def _steps(self, ctx: Any) -> Generator[Any, None, dict[str, Any]]:
        from fiftyone_plugin.export import export

        params = ctx.params
        view = ctx.view
        if params.get("tag"):
            view = view.match_tags(params["tag"])

        def work(progress: Any) -> Any:
            return export(
                view,
                params.get("field") or guess_field(ctx.dataset),
                out=params.get("out") or default_folder(ctx),
                format=params.get("format") or DEFAULT_FORMAT,
                overwrite=bool(params.get("overwrite")),
                images=params.get("images") or "copy",
                min_area=int(params.get("min_area") or 0),
                min_quality=params.get("min_quality"),
                progress=progress,
            )

        result = yield from run_with_progress(ctx, work)
        summary = summarise(result)
        if not ctx.delegated:
            packed = pack_labels(result.out)
            if packed is not None:
                url = f"data:application/zip;base64,{base64.b64encode(packed).decode('ascii')}"
                summary["download"] = f"{result.out.name}.zip"
                yield ctx.ops.browser_download(url, filename=summary["download"])
            yield ctx.ops.show_output(_outputs(summary).to_json(), summary)
        return summary

    def resolve_output(self, ctx: Any) -> Any:
        """Show what was written."""
        return _outputs(ctx.results or {})

    def __call__(self, view: Any, field: str, out: str, **params: Any) -> Any:
        """Run from Python: ``foo.get_operator(uri)(view, ...)``.

        Args:
            view: dataset or view of images.
            field: Segmentation field.
            out: folder of the export.
            params: other values of the form: ``format``, ``overwrite``, ``images``, ``tag``, ``min_area``,
                ``min_quality``.

        Returns:
            FiftyOne's execution result.
        """
        params |= {"field": field, "out": str(out)}
        return foo.execute_operator(self.uri, {"view": view.view()}, params=params)


def guess_field(dataset: Any) -> str | None:
    """Return the first field that a run of this plugin has filled, else the first segmentation field."""
    fields = segmentation_fields(dataset)
    labelled = [field for field in fields if dataset.has_run(run_key(field))]
    return next(iter([*labelled, *fields]), None)


def default_folder(ctx: Any) -> Path:
    """Return a folder that does not exist yet, below FiftyOne's default dataset folder."""
    field = ctx.params.get("field") or guess_field(ctx.dataset)
    kind = ctx.params.get("format") or DEFAULT_FORMAT
    parent = Path(fo.config.default_dataset_dir) / "pseudomask-exports" / ctx.dataset.slug
    folder, number = parent / f"{field}-{kind}", 2
    while folder.exists():
        folder = parent / f"{field}-{kind}-{number}"
        number += 1
    return folder


def summarise(result: Any) -> dict[str, Any]:
    """Return the counts of an export, JSON-serialisable."""
    failed = result.failed
    return {
        "images": result.images,
        "annotations": result.annotations,
        "classes": len(result.categories),
        "skipped": len(result.skipped),
        "reasons": "; ".join(f"{entry.key}: {entry.reason}" for entry in failed[:LISTED]),
        "folder": str(result.out),
    }


def pack_labels(folder: Path, limit: int = DOWNLOAD_BYTES) -> bytes | None:
    """Return a ZIP of an export without its images; ``None`` if it is too large for a download."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in MEDIA_FOLDERS
    ]
    if sum(path.stat().st_size for path in files) > limit:
        return None
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, f"{folder.name}/{path.relative_to(folder).as_posix()}")
    return buffer.getvalue()


def _format(ctx: Any, inputs: Any) -> None:
    from fiftyone_plugin.export.formats import formats

    known = {name: entry.description for name, entry in formats().items()}
    chosen = known.get(ctx.params.get("format"), known[DEFAULT_FORMAT])
    choose(
        inputs,
        "format",
        list(known),
        notes=known,
        default=DEFAULT_FORMAT,
        label="Format",
        description=chosen,
    )


def _check_folder(inputs: Any, out: Path, overwrite: bool) -> None:
    """Mark the folder as invalid, with the reason, where the export would be refused."""
    from fiftyone_plugin.errors import UsageError
    from fiftyone_plugin.export.staging import ExportFolder

    if not out.is_absolute():
        refuse(inputs, "out", "an absolute path, please: the server may run anywhere")
        return
    try:
        ExportFolder(out, overwrite=overwrite).check()
    except (UsageError, OSError) as error:
        refuse(inputs, "out", str(error))


def _outputs(summary: dict[str, Any]) -> Any:
    outputs = types.Object()
    outputs.int("images", label="Images exported")
    outputs.int("annotations", label="Segments")
    outputs.int("classes", label="Classes")
    outputs.int("skipped", label="Images left out")
    if summary.get("reasons"):
        outputs.str("reasons", label="Why images were left out")
    outputs.str("folder", label="Written to")
    if summary.get("download"):
        outputs.str("download", label="In your browser's downloads, without images")
    return types.Property(outputs, view=types.View(label="Export of masks"))
