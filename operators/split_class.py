"""Operator ``split_class``: one class of a run becomes two or more, by what its regions look like."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from .edit_forms import (
    SECONDS_AN_IMAGE,
    add_class,
    add_masks,
    chosen_field,
    images_with_class,
    run_edit,
    show_counts,
)
from .progress import execution_options, stream_or_run

__all__ = ["SplitClass"]

LABEL = "Class split"
MAX_PARTS = 26
HELP = (
    "The connected regions of the class are clustered anew by what they look like to the backbone. The part "
    "with the largest area keeps the id, the others get new ones; names become 'NAME a', 'NAME b', ... "
    "It can be taken back with 'Take back an edit of pseudo-masks'."
)


class SplitClass(foo.Operator):
    """Thin shell around :func:`fiftyone_plugin.editing.split_class`."""

    @property
    def config(self) -> Any:
        """How the App shows and runs the operator."""
        return foo.OperatorConfig(
            name="split_class",
            label="Split a class of pseudo-masks",
            description="Cluster the regions of one class anew, into two classes or more",
            icon="call_split",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=RiskLevel.MEDIUM,
        )

    def resolve_execution_options(self, ctx: Any) -> Any:
        """Offer delegation first where the class is in many images."""
        field, class_id = chosen_field(ctx), ctx.params.get("class_id")
        images = images_with_class(ctx, field, int(class_id)) if field and class_id else 0
        return execution_options(SECONDS_AN_IMAGE * images)

    def resolve_input(self, ctx: Any) -> Any:
        """Build the form: masks, class, number of parts."""
        inputs = types.Object()
        field = add_masks(ctx, inputs, HELP)
        if field:
            add_class(ctx, inputs, field, "A click on its row in the panel shows the images with the class")
            inputs.int("parts", default=2, min=2, max=MAX_PARTS, required=True, label="Parts")
            inputs.int(
                "seed",
                default=0,
                min=0,
                required=True,
                label="Seed",
                description="The same seed gives the same parts",
            )
        return types.Property(inputs, view=types.View(label="Split a class"))

    def execute(self, ctx: Any) -> Any:
        """Split: a stream of progress for the App, or the summary of a delegated run."""
        return stream_or_run(ctx, self._steps(ctx))

    def _steps(self, ctx: Any) -> Generator[Any, None, dict[str, Any]]:
        from fiftyone_plugin.editing import split_class

        params, field = ctx.params, chosen_field(ctx) or ""

        def work(progress: Any) -> Any:
            return split_class(
                ctx.dataset,
                field,
                int(params["class_id"]),
                n_parts=int(params.get("parts") or 2),
                seed=int(params.get("seed") or 0),
                progress=progress,
            )

        def summarize(done: Any) -> dict[str, Any]:
            names, regions = done.edit.after.shown, done.edit.summary["regions"]
            parts = {names[id_]: regions[str(id_)] for id_ in done.edit.summary["ids"]}
            return {
                "field": field,
                "classes": ", ".join(f"{name} ({n} regions)" for name, n in parts.items()),
                "masks_changed": done.changed,
                "images_not_read": done.edit.summary["images_not_read"],
            }

        return (yield from run_edit(ctx, work, summarize, LABEL))

    def resolve_output(self, ctx: Any) -> Any:
        """Show the parts."""
        return show_counts(ctx.results or {}, LABEL)

    def __call__(self, samples: Any, field: str, class_id: int, *, parts: int = 2, seed: int = 0) -> Any:
        """Run from Python: ``foo.get_operator(uri)(dataset, field, 3)``.

        Args:
            samples: dataset or view; classes belong to the whole dataset.
            field: mask field of a finished run.
            class_id: class to split.
            parts: number of parts.
            seed: seed of the clustering.

        Returns:
            FiftyOne's execution result.
        """
        params = {"field": field, "class_id": str(class_id), "parts": parts, "seed": seed}
        return foo.execute_operator(self.uri, {"view": samples.view()}, params=params)
