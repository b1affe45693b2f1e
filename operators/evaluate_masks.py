"""Operator ``evaluate_masks``: masks against ground truth, with clusters matched to classes."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ClassVar

import fiftyone.operators as foo
from fiftyone.operators import types

from fiftyone_plugin.dataset.keys import run_key
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.evaluation.geometry import BOUNDARY_TOLERANCE
from fiftyone_plugin.evaluation.protocols import DEFAULT, PROTOCOLS
from fiftyone_plugin.evaluation.report import format_markdown

from .base import PseudoMaskOperator, images_of
from .forms.fields import block, choose, describe_left_out, refuse, segmentation_fields, show_left_out
from .params import Params
from .running import count_images, run_with_progress

__all__ = ["EvaluateMasks"]

TOO_FEW = "two segmentation fields are needed: masks and ground truth"
PANEL = "model_evaluation_panel_builtin"
SECONDS_AN_IMAGE = 0.012  # on two cores
ID_DIGITS = 9
TRUE_NAMES = ("ground_truth", "gt", "groundtruth", "labels", "segmentation", "segmentations", "masks")


class EvaluateMasks(PseudoMaskOperator):
    """Thin shell around :func:`fiftyone_plugin.evaluate`."""

    listed: ClassVar[dict[str, Any]] = {
        "name": "evaluate_masks",
        "label": "Evaluate masks against ground truth",
        "description": "mIoU and other scores of pseudo-masks, with clusters matched to classes",
        "icon": "checklist",
    }

    title = "Evaluate masks against ground truth"

    def seconds(self, ctx: Any, params: Params) -> float:
        """Grows with the images."""
        return SECONDS_AN_IMAGE * count_images(ctx)

    def form(self, ctx: Any, inputs: Any, params: Params) -> None:
        """Add the inputs; every value has a default."""
        fields = segmentation_fields(ctx.dataset)
        if len(fields) < 2:
            inputs.view(
                "too_few",
                types.Error(
                    label=TOO_FEW,
                    description=f"This dataset has {len(fields)}: {', '.join(fields) or 'none'}",
                ),
            )
            block(inputs, "pred_field", TOO_FEW)
            return
        pred_field, gt_field = guess_fields(ctx.dataset, fields)
        what, right = "What is evaluated", "What is right"
        choose(inputs, "pred_field", fields, default=pred_field, label="Masks", description=what)
        choose(inputs, "gt_field", fields, default=gt_field, label="Ground truth", description=right)
        pred_field = params.one_of("pred_field", fields, pred_field)
        _protocol(params, inputs)
        inputs.str(
            "eval_key",
            default=free_key(ctx.dataset, pred_field),
            label="Name",
            description="The evaluation is kept under this name, and writes <name>_iou, _accuracy, _coverage",
        )
        inputs.str(
            "ignore",
            label="Ignored ids",
            description="Ground-truth ids to leave out, e.g. 255; empty: those without a name, if any has",
        )
        inputs.bool(
            "zero_is_class",
            default=False,
            label="0 is a class",
            description="Otherwise a predicted 0 means no label, and is an error",
        )
        inputs.bool(
            "resize",
            default=False,
            label="Resize masks",
            description="Bring masks of another size to the size of the ground truth",
        )
        inputs.bool(
            "boundary", default=False, label="Boundary F", description="Also score boundaries; slower"
        )
        inputs.bool(
            "rename",
            default=False,
            label="Rename classes by this matching",
            description=f"Adds {pred_field}_named, the same masks under the names of the classes they match",
        )
        _check(ctx, inputs, params)

    def steps(self, ctx: Any, params: Params) -> Generator[Any, None, dict[str, Any]]:
        """Evaluate the view, and return the scores."""
        from fiftyone_plugin.dataset.naming import apply_mapping
        from fiftyone_plugin.evaluation import evaluate

        options = _options(ctx, params)
        view = images_of(ctx, options["pred_field"], options["gt_field"])
        rename = params.flag("rename")

        def work(progress: Any) -> Any:
            return evaluate(view, **options, progress=progress)

        results = yield from run_with_progress(ctx, work)
        named = None
        if rename and results.mapping:
            named = apply_mapping(view, options["pred_field"], results.mapping)
        summary = {
            "eval_key": options["eval_key"],
            "report": format_markdown(results.evaluation),
            "named": named,
            **describe_left_out(getattr(results, "skipped", None)),
        }
        if not ctx.delegated:
            yield ctx.ops.reload_dataset()
            yield ctx.ops.open_panel(PANEL, is_active=True, layout="horizontal")
            yield ctx.ops.show_output(_outputs(summary).to_json(), summary)
        return summary

    def outputs(self, results: dict[str, Any]) -> Any:
        """Show the scores."""
        return _outputs(results)

    def __call__(self, view: Any, pred_field: str, gt_field: str, eval_key: str, **params: Any) -> Any:
        """Run from Python: ``foo.get_operator(uri)(view, ...)``.

        Args:
            view: dataset or view of images.
            pred_field: Segmentation field that is evaluated.
            gt_field: Segmentation field of ground truth.
            eval_key: name of the evaluation.
            params: other values of the form: ``protocol``, ``ignore``, ``zero_is_class``, ``resize``,
                ``boundary``, ``rename``.

        Returns:
            FiftyOne's execution result.
        """
        params |= {"pred_field": pred_field, "gt_field": gt_field, "eval_key": eval_key}
        return foo.execute_operator(self.uri, {"view": view.view()}, params=params)


def guess_fields(dataset: Any, fields: list[str]) -> tuple[str, str]:
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


def free_key(dataset: Any, field: str) -> str:
    """Return a name for an evaluation of ``field`` that is not taken."""
    stem = f"eval_{field}"
    taken = set(dataset.list_evaluations())
    return next(key for key in (stem, *(f"{stem}_{i}" for i in range(2, len(taken) + 3))) if key not in taken)


def _protocol(params: Params, inputs: Any) -> None:
    notes = {protocol.name: protocol.explanation for protocol in PROTOCOLS.values()}
    chosen = PROTOCOLS[params.one_of("protocol", PROTOCOLS, DEFAULT)]
    choose(
        inputs,
        "protocol",
        list(notes),
        notes=notes,
        default=DEFAULT,
        label="Protocol",
        description=chosen.explanation,
    )


def _ignored(text: str) -> list[int] | None:
    """Return the ids of a text like ``0, 255``; ``None`` if it is empty.

    Raises:
        UsageError: something else than ids.
    """
    parts = text.replace(",", " ").split()
    if not all(part.isascii() and part.isdigit() and len(part) <= ID_DIGITS for part in parts):
        raise UsageError("ids are whole numbers from 0 on, separated by spaces")
    return [int(part) for part in parts] or None


def _check(ctx: Any, inputs: Any, params: Params) -> None:
    """Mark inputs as invalid, with the reason, where the run would be refused."""
    options = _options(ctx, params, checked=False)
    if options["pred_field"] == options["gt_field"]:
        refuse(inputs, "gt_field", "this is the field that is evaluated: choose another one")
    key = params.text("eval_key")
    if key and key in ctx.dataset.list_evaluations():
        refuse(inputs, "eval_key", "there is an evaluation of this name: choose another name")
    try:
        _ignored(params.text("ignore"))
    except UsageError as error:
        refuse(inputs, "ignore", str(error))


def _options(ctx: Any, params: Params, *, checked: bool = True) -> dict[str, Any]:
    """Return the arguments of :func:`fiftyone_plugin.evaluate` that the form stands for.

    Args:
        ctx: FiftyOne's execution context.
        params: the form's values.
        checked: raise for ids that are none.
    """
    fields = segmentation_fields(ctx.dataset)
    if len(fields) < 2:
        raise UsageError(TOO_FEW)
    pred_field, gt_field = guess_fields(ctx.dataset, fields)
    pred_field = params.one_of("pred_field", fields, pred_field)
    return {
        "pred_field": pred_field,
        "gt_field": params.one_of("gt_field", fields, gt_field),
        "eval_key": params.field("eval_key") or free_key(ctx.dataset, pred_field),
        "protocol": params.one_of("protocol", PROTOCOLS, DEFAULT),
        "ignore": _ignored(params.text("ignore")) if checked else None,
        "unlabelled": None if params.flag("zero_is_class") else 0,
        "resize": params.flag("resize"),
        "boundary": BOUNDARY_TOLERANCE if params.flag("boundary") else None,
    }


def _outputs(summary: dict[str, Any]) -> Any:
    outputs = types.Object()
    outputs.str("eval_key", label="Kept as")
    outputs.str("report", label="Scores", view=types.MarkdownView())
    if summary.get("named"):
        outputs.str("named", label="Classes under their names")
    show_left_out(outputs, summary)
    return types.Property(outputs, view=types.View(label="Scores of the masks"))
