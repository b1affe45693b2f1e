"""Operator ``hide_classes``: which classes of a run are shown, one check box a class."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.app_summary import class_rows

from .edit_forms import add_masks, chosen_field, run_edit, show_counts
from .forms import refuse
from .progress import count_images, execution_options, stream_or_run

__all__ = ["HideClasses"]

LABEL = "Classes hidden"
HELP = (
    "Hidden classes are not drawn and leave the lists of classes, on the whole dataset. The masks stay as "
    "they are, so a class can be shown again at any time."
)
SECONDS_TO_SHOW = 0.004  # for each image: showing a class again reads the masks


class HideClasses(foo.Operator):
    """Thin shell around :mod:`fiftyone_plugin.editing.classes`."""

    @property
    def config(self) -> Any:
        """How the App shows and runs the operator."""
        return foo.OperatorConfig(
            name="hide_classes",
            label="Hide or show classes of pseudo-masks",
            description="Choose the classes that are drawn and listed; the masks stay as they are",
            icon="visibility_off",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=RiskLevel.LOW,
        )

    def resolve_execution_options(self, ctx: Any) -> Any:
        """Offer delegation first where many masks have to be read."""
        return execution_options(SECONDS_TO_SHOW * count_images(ctx))

    def resolve_input(self, ctx: Any) -> Any:
        """Build the form: the masks, and a check box for every class."""
        inputs = types.Object()
        field = add_masks(ctx, inputs, HELP)
        if field:
            _add_boxes(ctx, inputs, field)
        return types.Property(inputs, view=types.View(label="Hide classes"))

    def execute(self, ctx: Any) -> Any:
        """Hide and show: a stream of progress for the App, or the summary of a delegated run."""
        return stream_or_run(ctx, self._steps(ctx))

    def _steps(self, ctx: Any) -> Generator[Any, None, dict[str, Any]]:
        field = chosen_field(ctx) or ""
        boxes = _boxes(ctx.params, field)

        def work(_: Any) -> Any:
            return _set_hidden(ctx.dataset, field, boxes)

        def summarize(samples: int) -> dict[str, Any]:
            from fiftyone_plugin.editing.run import run_names

            hidden = run_names(ctx.dataset, field).hidden
            return {"field": field, "hidden": ", ".join(hidden.values()) or "none", "images_changed": samples}

        return (yield from run_edit(ctx, work, summarize, LABEL))

    def resolve_output(self, ctx: Any) -> Any:
        """Show what is hidden now."""
        return show_counts(ctx.results or {}, LABEL)

    def __call__(
        self, samples: Any, field: str, hide: Iterable[int] = (), *, show: Iterable[int] = ()
    ) -> Any:
        """Run from Python: ``foo.get_operator(uri)(dataset, field, [3, 5])``.

        Args:
            samples: dataset or view; classes belong to the whole dataset.
            field: mask field of a finished run.
            hide: classes to hide; those that are hidden already stay hidden.
            show: hidden classes to show again.

        Returns:
            FiftyOne's execution result.
        """
        boxes = {**{_box(field, id_): True for id_ in hide}, **{_box(field, id_): False for id_ in show}}
        params = {"field": field, **boxes}
        return foo.execute_operator(self.uri, {"view": samples.view()}, params=params)


def _box(field: str, id_: int) -> str:
    """Return the name of a class's check box; it holds the field, whose boxes others must not inherit."""
    return f"{field}__hide__{id_}"


def _boxes(params: dict[str, Any], field: str) -> dict[int, bool]:
    start = f"{field}__hide__"
    return {int(k.removeprefix(start)): bool(v) for k, v in params.items() if k.startswith(start)}


def _add_boxes(ctx: Any, inputs: Any, field: str) -> None:
    from fiftyone_plugin.editing.run import run_names

    names = run_names(ctx.dataset, field)
    images = {id_: row.images for row in class_rows(ctx.dataset, field) for id_ in row.ids}
    chosen = _boxes(ctx.params, field)
    for id_, name in names.all.items():
        hidden = id_ in names.hidden
        count = images.get(id_, 0)
        shown = "hidden" if hidden else f"in {count} image{'' if count == 1 else 's'}"
        inputs.bool(
            _box(field, id_), default=hidden, label=f"Hide {name}", description=f"class {id_}, {shown}"
        )
    if all(chosen.get(id_, id_ in names.hidden) for id_ in names.all):
        refuse(inputs, _box(field, next(iter(names.all))), "at least one class has to stay visible")


def _set_hidden(dataset: Any, field: str, boxes: dict[int, bool]) -> int:
    """Hide and show as the boxes say and return how many images changed."""
    from fiftyone_plugin.editing import hide_classes, show_classes
    from fiftyone_plugin.editing.run import run_names

    names, samples = run_names(dataset, field), 0
    show = [id_ for id_, hidden in boxes.items() if not hidden and id_ in names.hidden]
    hide = [id_ for id_, hidden in boxes.items() if hidden and id_ not in names.hidden]
    if show:
        samples += show_classes(dataset, field, show).samples
    if hide:
        samples += hide_classes(dataset, field, hide).samples
    return samples
