"""Operator ``split_class``: one class of a run becomes two or more, by what its regions look like."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ClassVar

import fiftyone.operators as foo
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.errors import UsageError

from .forms.edits import (
    SECONDS_AN_IMAGE,
    EditOperator,
    add_class,
    chosen_class,
    chosen_field,
    images_with_class,
    required_field,
    run_edit,
)
from .params import Params

__all__ = ["SplitClass"]

LABEL = "Class split"
MAX_PARTS = 26
MAX_SEED = 2**32 - 1
HELP = (
    "The connected regions of the class are clustered anew by what they look like to the backbone. The part "
    "with the largest area keeps the id, the others get new ones; names become 'NAME a', 'NAME b', ... "
    "It can be taken back with 'Take back an edit of pseudo-masks'."
)


class SplitClass(EditOperator):
    """Thin shell around :func:`fiftyone_plugin.dataset.editing.split_class`."""

    listed: ClassVar[dict[str, Any]] = {
        "name": "split_class",
        "label": "Split a class of pseudo-masks",
        "description": "Cluster the regions of one class anew, into two classes or more",
        "icon": "call_split",
        "risk_level": RiskLevel.MEDIUM,
    }

    title = "Split a class"
    help = HELP
    done = LABEL

    def seconds(self, ctx: Any, params: Params) -> float:
        """Grows with the images that show the class."""
        field = chosen_field(ctx, params)
        class_id = chosen_class(ctx, params, field) if field else None
        return SECONDS_AN_IMAGE * images_with_class(ctx, field, class_id) if field and class_id else 0.0

    def add_inputs(self, ctx: Any, inputs: Any, params: Params, field: str) -> None:
        """Add class, number of parts and seed."""
        text = "A click on its row in the panel shows the images with the class"
        add_class(ctx, inputs, params, field, text)
        inputs.int("parts", default=2, min=2, max=MAX_PARTS, required=True, label="Parts")
        inputs.int(
            "seed",
            default=0,
            min=0,
            max=MAX_SEED,
            required=True,
            label="Seed",
            description="The same seed gives the same parts",
        )
        _numbers(params)

    def steps(self, ctx: Any, params: Params) -> Generator[Any, None, dict[str, Any]]:
        """Split, and return the parts."""
        from fiftyone_plugin.dataset.editing import split_class

        field = required_field(ctx, params)
        class_id = chosen_class(ctx, params, field)
        if class_id is None:
            raise UsageError("choose the class to split")
        parts, seed = _numbers(params)

        def work(progress: Any) -> Any:
            return split_class(ctx.dataset, field, class_id, n_parts=parts, seed=seed, progress=progress)

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


def _numbers(params: Params) -> tuple[int, int]:
    """Return number of parts and seed."""
    return params.whole("parts", 2, 2, MAX_PARTS), params.whole("seed", 0, 0, MAX_SEED)
