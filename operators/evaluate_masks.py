"""Operator ``evaluate_masks``: masks against ground truth, with clusters matched to classes."""

from __future__ import annotations

from typing import Any, ClassVar

import fiftyone as fo
import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.dataset.keys import run_key
from fiftyone_plugin.dataset.record import RunFields
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.evaluation.geometry import BOUNDARY_TOLERANCE
from fiftyone_plugin.evaluation.protocols import DEFAULT, PROTOCOLS
from fiftyone_plugin.evaluation.report import format_markdown

from .base import Messages, Outcome, PseudoMaskOperator, entry, images_of, once, say_images
from .forms.fields import (
    cannot,
    choose,
    choose_noted,
    describe_left_out,
    left_out_labels,
    refuse,
    segmentation_fields,
)
from .params import Params
from .running import show_masks

__all__ = ["EvaluateMasks"]

TOO_FEW = "two segmentation fields are needed: masks and ground truth"
PANEL = "model_evaluation_panel_builtin"
ID_DIGITS = 9
TRUE_NAMES = ("ground_truth", "gt", "groundtruth", "labels", "segmentation", "segmentations", "masks")


class EvaluateMasks(PseudoMaskOperator):
    """mIoU and other scores of pseudo-masks, with clusters matched to classes."""

    listed = entry("Evaluate masks against ground truth", "checklist")
    title, done = "Evaluate masks against ground truth", "Scores of the masks"
    seconds_an_image = 0.012
    shown: ClassVar[dict[str, str]] = {
        "eval_key": "Kept as",
        "report": "Scores",
        "named": "Classes under their names",
        **left_out_labels("Images"),
    }

    def form(self, ctx: ExecutionContext, inputs: types.Object, params: Params) -> None:
        """Add the inputs; every value has a default."""
        fields = segmentation_fields(ctx.dataset)
        if len(fields) < 2:
            found = f"This dataset has {len(fields)}: {', '.join(fields) or 'none'}"
            cannot(inputs, "pred_field", TOO_FEW, found)
            return
        say_images(ctx, inputs, "Evaluates")
        pred_field, gt_field = _guess(ctx)
        what, right = "What is evaluated", "What is right"
        choose(inputs, "pred_field", fields, default=pred_field, label="Masks", description=what)
        choose(inputs, "gt_field", fields, default=gt_field, label="Ground truth", description=right)
        pred_field = params.one_of("pred_field", fields, pred_field)
        explained = {protocol.name: protocol.explanation for protocol in PROTOCOLS.values()}
        choose_noted(inputs, params, "protocol", explained, DEFAULT, "Protocol")
        key = free_key(ctx.dataset, pred_field)
        text = "The evaluation is kept under this name, and writes <name>_iou, _accuracy, _coverage"
        inputs.str("eval_key", default=key, label="Name", description=text)
        text = "Ground-truth ids to leave out, e.g. 255; empty: those without a name, if any has"
        inputs.str("ignore", label="Ignored ids", description=text)
        renamed = (
            f"Adds {RunFields(pred_field).named}, the same masks under the names of the classes they match"
        )
        for name, label, text in (
            ("zero_is_class", "0 is a class", "Otherwise a predicted 0 means no label, and is an error"),
            ("resize", "Resize masks", "Bring masks of another size to the size of the ground truth"),
            ("boundary", "Boundary F", "Also score boundaries; slower"),
            ("rename", "Rename classes by this matching", renamed),
        ):
            inputs.bool(name, default=False, label=label, description=text)
        options = _options(ctx, params)
        if options["pred_field"] == options["gt_field"]:
            refuse(inputs, "gt_field", "this is the field that is evaluated: choose another one")
        if params.text("eval_key") in ctx.dataset.list_evaluations():
            refuse(inputs, "eval_key", "there is an evaluation of this name: choose another name")

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Evaluate the view, and return the scores."""
        from fiftyone_plugin.dataset.naming import apply_mapping
        from fiftyone_plugin.evaluation import evaluate

        options = _options(ctx, params)
        view = images_of(ctx, options["pred_field"], options["gt_field"])
        rename = params.flag("rename")
        results = yield from self.run(ctx, lambda progress: evaluate(view, **options, progress=progress))
        mapping = results.mapping if rename else None
        summary = {
            "eval_key": options["eval_key"],
            "report": format_markdown(results.evaluation),
            "named": apply_mapping(view, options["pred_field"], mapping) if mapping else None,
            **describe_left_out(results.skipped),
        }
        if not ctx.delegated:
            yield from show_masks(ctx)  # before the window: what is drawn anew below it would bring it back
            yield ctx.ops.open_panel(PANEL, is_active=True, layout="horizontal")
            yield self.tell(ctx, summary)
        return summary

    def __call__(
        self, view: foc.SampleCollection, pred_field: str, gt_field: str, eval_key: str, **params: object
    ) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(view, ...)`` on two Segmentation fields.

        Values of the form: ``protocol``, ``ignore``, ``zero_is_class``, ``resize``, ``boundary``, ``rename``.
        """
        fields = {"pred_field": pred_field, "gt_field": gt_field}
        return self.call(view, params | fields | {"eval_key": eval_key})


@once
def _guess(ctx: ExecutionContext) -> tuple[str, str]:
    return guess_fields(ctx.dataset, segmentation_fields(ctx.dataset))


def guess_fields(dataset: fo.Dataset, fields: list[str]) -> tuple[str, str]:
    """Guess which of two or more segmentation fields is predicted and which is ground truth.

    Fields of this plugin's runs are predictions; ground truth is what has a usual name, else what has mask
    targets and is no prediction.
    """
    labelled = [field for field in fields if dataset.has_run(run_key(field))]
    others = [field for field in fields if field not in labelled] or fields
    ranked = sorted(
        others,
        key=lambda field: (
            TRUE_NAMES.index(field) if field in TRUE_NAMES else len(TRUE_NAMES),
            field not in dataset.mask_targets,
        ),
    )
    true = ranked[0]
    return next(field for field in [*labelled, *fields] if field != true), true


def free_key(dataset: fo.Dataset, field: str) -> str:
    """Return a name for an evaluation of ``field`` that is not taken."""
    stem = f"eval_{field}"
    taken = set(dataset.list_evaluations())
    return next(key for key in (stem, *(f"{stem}_{i}" for i in range(2, len(taken) + 3))) if key not in taken)


def _ignored(params: Params) -> list[int] | None:
    """Return the ids of a text like ``0, 255``; ``None`` if it is empty.

    Raises:
        UsageError: something else than ids; in a form this is noted.
    """
    parts = params.text("ignore").replace(",", " ").split()
    if all(part.isascii() and part.isdigit() and len(part) <= ID_DIGITS for part in parts):
        return [int(part) for part in parts] or None
    params.problems["ignore"] = "ids are whole numbers from 0 on, separated by spaces"
    if not params.lenient:
        raise UsageError(params.problems["ignore"])
    return None


def _options(ctx: ExecutionContext, params: Params) -> dict[str, Any]:
    """Return the arguments of :func:`fiftyone_plugin.evaluate`."""
    fields = segmentation_fields(ctx.dataset)
    if len(fields) < 2:
        raise UsageError(TOO_FEW)
    pred_field, gt_field = _guess(ctx)
    pred_field = params.one_of("pred_field", fields, pred_field)
    return {
        "pred_field": pred_field,
        "gt_field": params.one_of("gt_field", fields, gt_field),
        "eval_key": params.field("eval_key") or free_key(ctx.dataset, pred_field),
        "protocol": params.one_of("protocol", PROTOCOLS, DEFAULT),
        "ignore": _ignored(params),
        "unlabelled": None if params.flag("zero_is_class") else 0,
        "resize": params.flag("resize"),
        "boundary": BOUNDARY_TOLERANCE if params.flag("boundary") else None,
    }
