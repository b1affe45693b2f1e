"""Operator ``label_dataset``: one click, and every image of the view gets a pseudo-mask."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.methods import DEFAULT_METHOD

from .progress import run_with_progress, stream_or_run

__all__ = ["LabelDataset"]

DEFAULT_FIELD = "pseudo_mask"
DEFAULT_CLASSES = 20
IMMEDIATE_IMAGES = (
    100  # about a minute on two cores; immediate runs share the App's process and its 600 s limit
)


class LabelDataset(foo.Operator):
    """Thin shell around :func:`fiftyone_plugin.label_dataset`."""

    @property
    def config(self) -> Any:
        """How the App shows and runs the operator."""
        return foo.OperatorConfig(
            name="label_dataset",
            label="Label dataset with pseudo-masks",
            description="Give every image a semantic pseudo-mask, without labels and without prompts",
            icon="auto_awesome",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=RiskLevel.LOW,
        )

    def resolve_placement(self, ctx: Any) -> Any:
        """Put a button above the sample grid."""
        return types.Placement(
            types.Places.SAMPLES_GRID_SECONDARY_ACTIONS,
            types.Button(label="Pseudo-masks: label these images", icon="auto_awesome", prompt=True),
        )

    def resolve_execution_options(self, ctx: Any) -> Any:
        """Offer delegation first where the run would take long."""
        large = len(ctx.view) > IMMEDIATE_IMAGES
        return foo.ExecutionOptions(
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            default_choice_to_delegated=large,
        )

    def resolve_input(self, ctx: Any) -> Any:
        """Build the form; every value has a default."""
        inputs = types.Object()
        inputs.str(
            "field",
            default=DEFAULT_FIELD,
            required=True,
            label="Field",
            description="New field for the masks; <field>_classes and <field>_coverage are written beside it",
        )
        inputs.int(
            "classes", default=DEFAULT_CLASSES, min=1, max=65_535, label="Number of classes", required=True
        )
        _add_method(inputs)
        inputs.bool(
            "overwrite",
            default=False,
            label="Overwrite",
            description="Replace an earlier result in this field",
        )
        _check_field(ctx, inputs)
        return types.Property(inputs, view=types.View(label="Label images with pseudo-masks"))

    def execute(self, ctx: Any) -> Any:
        """Label the view: a stream of progress for the App, or the counts of a delegated run."""
        return stream_or_run(ctx, self._steps(ctx))

    def _steps(self, ctx: Any) -> Generator[Any, None, dict[str, Any]]:
        from fiftyone_plugin.datasets import label_dataset

        field = ctx.params.get("field") or DEFAULT_FIELD
        view = ctx.view

        def work(progress: Any) -> Any:
            return label_dataset(
                view,
                field,
                classes=int(ctx.params.get("classes") or DEFAULT_CLASSES),
                method=ctx.params.get("method") or DEFAULT_METHOD,
                overwrite=bool(ctx.params.get("overwrite", False)),
                progress=progress,
            )

        result = yield from run_with_progress(ctx, work)
        summary = {
            "field": field,
            "labelled": len(result.labelled),
            "skipped": len(result.skipped),
            "reasons": "; ".join(f"{row.image}: {row.error}" for row in result.skipped[:5]),
            "folder": str(result.out),
        }
        if not ctx.delegated:
            yield ctx.ops.reload_dataset()
            yield ctx.ops.show_output(_outputs(summary).to_json(), summary)
        return summary

    def resolve_output(self, ctx: Any) -> Any:
        """Show the counts."""
        return _outputs(ctx.results or {})

    def __call__(
        self,
        view: Any,
        field: str = DEFAULT_FIELD,
        *,
        classes: int = DEFAULT_CLASSES,
        method: str = DEFAULT_METHOD,
        overwrite: bool = False,
    ) -> Any:
        """Run from Python: ``foo.get_operator(uri)(view, ...)``.

        Args:
            view: dataset or view of images.
            field: new field for the masks.
            classes: number of classes.
            method: name of the method.
            overwrite: replace an earlier result in this field.

        Returns:
            FiftyOne's execution result.
        """
        params = {"field": field, "classes": classes, "method": method, "overwrite": overwrite}
        return foo.execute_operator(self.uri, {"view": view.view()}, params=params)


def _add_method(inputs: Any) -> None:
    """Offer the methods by name."""
    from fiftyone_plugin.methods.base import list_methods

    names = list_methods()
    inputs.enum("method", names, default=DEFAULT_METHOD, label="Method", view=types.Dropdown())


def _outputs(summary: dict[str, Any]) -> Any:
    outputs = types.Object()
    outputs.str("field", label="Field")
    outputs.int("labelled", label="Images labelled")
    outputs.int("skipped", label="Images skipped")
    if summary.get("reasons"):
        outputs.str("reasons", label="Why images were skipped")
    outputs.str("folder", label="Masks and records")
    return types.Property(outputs, view=types.View(label="Pseudo-masks"))


def _check_field(ctx: Any, inputs: Any) -> None:
    """Mark the field input as invalid, with the reason, where the run would be refused."""
    field = ctx.params.get("field") or DEFAULT_FIELD
    if ctx.dataset is None or ctx.params.get("overwrite") or not ctx.dataset.has_sample_field(field):
        return
    if ctx.dataset.has_run(f"pseudomask_{field}"):
        message = f"{field!r} was filled by an earlier run: choose another name, or Overwrite"
    else:
        message = f"{field!r} exists: choose another name, or Overwrite"
    prop = inputs.properties["field"]
    prop.invalid = True
    prop.error_message = message
