"""Operator ``import_masks``: masks or COCO files of other tools as a field."""

from __future__ import annotations

from typing import ClassVar

import fiftyone as fo
import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.dataset.keys import run_key
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.formats.earlier import EarlierImport

from .base import Messages, Outcome, PseudoMaskOperator, entry, images_of
from .forms.fields import (
    ask_overwrite,
    describe_left_out,
    first_reasons,
    left_out_labels,
    refuse,
    segmentation_fields,
    there_is,
)
from .params import Params
from .running import show_masks

__all__ = ["ImportMasks"]

DEFAULT_FIELD = "imported_mask"


class ImportMasks(PseudoMaskOperator):
    """Read masks or a COCO file, e.g. corrected by another tool, into a field."""

    listed = entry("Import masks", "file_upload", risk_level=RiskLevel.MEDIUM)
    title, done = "Import masks", "Import of masks"
    shown: ClassVar[dict[str, str]] = {
        "matched": "Samples with a mask",
        "skipped": "Masks left out",
        "reasons": "Why masks were left out",
        **left_out_labels("Annotations"),
        "folder": "Masks",
    }

    def form(self, ctx: ExecutionContext, inputs: types.Object, params: Params) -> None:
        """Add source and field; what is in the field may be replaced if an import has put it there."""
        text = "On the server: a COCO file, a VOC folder, or a folder of masks"
        inputs.str("source", label="Source", description=text)
        text = "Where the masks go; masks and images match by name"
        inputs.str("field", default=DEFAULT_FIELD, label="Field", description=text)
        source, field = params.text("source"), params.field("field", DEFAULT_FIELD)
        if source and not there_is(source):
            refuse(inputs, "source", "there is no such file or folder")
        if not ctx.dataset.has_sample_field(field):
            return
        reason = _reason_to_keep(ctx.dataset, field)
        if reason:
            refuse(inputs, "field", reason)
            return
        text = f"{field!r} exists: choose another name, or Overwrite"
        ask_overwrite(inputs, params, "field", text, "Replace an earlier import")

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Import, and return what was read."""
        from fiftyone_plugin.formats import import_masks

        view, source, field = images_of(ctx), params.text("source"), params.field("field", DEFAULT_FIELD)
        overwrite = params.flag("overwrite")
        if not source or not there_is(source):
            raise UsageError(f"there is no file or folder {source!r}: name the source of the masks")
        reason = _reason_to_keep(ctx.dataset, field) if ctx.dataset.has_sample_field(field) else ""
        if reason:
            raise UsageError(reason)
        result = yield from self.run(
            ctx, lambda progress: import_masks(view, source, field, overwrite=overwrite, progress=progress)
        )
        summary = {
            "matched": result.matched,
            "skipped": len(result.skipped),
            "reasons": first_reasons(result.skipped),
            "folder": str(result.out),
            **describe_left_out(result.lost),
        }
        # masks before the window: what is drawn anew below it would bring it back
        return (yield from self.end(ctx, summary, show_masks(ctx, field)))

    def __call__(
        self, view: foc.SampleCollection, source: str, field: str = DEFAULT_FIELD, *, overwrite: bool = False
    ) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(view, source)`` of a COCO file, VOC folder or masks."""
        return self.call(view, {"source": str(source), "field": field, "overwrite": overwrite})


def _reason_to_keep(dataset: fo.Dataset, field: str) -> str:
    """Return why what is in a field must not be replaced; empty where an earlier import has put it there."""
    other = "choose another name"
    if dataset.has_run(run_key(field)):
        return f"{field!r} belongs to a run of pseudo-masks: {other}"
    if field not in segmentation_fields(dataset):
        return f"{field!r} holds no masks: {other}"
    earlier = EarlierImport.of(dataset, field)
    if not earlier.samples or earlier.foreign:
        return f"{field!r} was not filled by an import: {other}"
    return ""
