"""Operator ``hide_classes``: which classes of a run are shown, one check box a class."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, ClassVar

import fiftyone.operators as foo

from fiftyone_plugin.dataset.summary import class_rows
from fiftyone_plugin.errors import UsageError

from .forms.edits import EditOperator, required_field, run_edit
from .forms.fields import refuse, show_name
from .params import Params
from .running import count_images

__all__ = ["HideClasses"]

LABEL = "Classes hidden"
HELP = (
    "Hidden classes are not drawn and leave the lists of classes, on the whole dataset. The masks stay as "
    "they are, so a class can be shown again at any time."
)
SECONDS_TO_SHOW = 0.004  # for each image: showing a class again reads the masks


class HideClasses(EditOperator):
    """Thin shell around :mod:`fiftyone_plugin.dataset.editing.classes`."""

    listed: ClassVar[dict[str, Any]] = {
        "name": "hide_classes",
        "label": "Hide or show classes of pseudo-masks",
        "description": "Choose the classes that are drawn and listed; the masks stay as they are",
        "icon": "visibility_off",
    }

    title = "Hide classes"
    help = HELP
    done = LABEL

    def seconds(self, ctx: Any, params: Params) -> float:
        """Grows with the masks that have to be read."""
        return SECONDS_TO_SHOW * count_images(ctx)

    def add_inputs(self, ctx: Any, inputs: Any, params: Params, field: str) -> None:
        """Add a check box for every class."""
        _add_boxes(ctx, inputs, params, field)

    def steps(self, ctx: Any, params: Params) -> Generator[Any, None, dict[str, Any]]:
        """Hide and show, and return what is hidden now."""
        field = required_field(ctx, params)
        boxes = _boxes(params, field)

        def work(_: Any) -> Any:
            return _set_hidden(ctx.dataset, field, boxes)

        def summarize(samples: int) -> dict[str, Any]:
            from fiftyone_plugin.dataset.editing.history import run_names

            hidden = run_names(ctx.dataset, field).hidden
            shown = ", ".join(map(show_name, hidden.values())) or "none"
            return {"field": field, "hidden": shown, "images_changed": samples}

        return (yield from run_edit(ctx, work, summarize, LABEL))

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


def _boxes(params: Params, field: str) -> dict[int, bool]:
    return {id_: params.flag(name) for id_, name in params.numbered(f"{field}__hide__").items()}


def _add_boxes(ctx: Any, inputs: Any, params: Params, field: str) -> None:
    from fiftyone_plugin.dataset.editing.history import run_names

    names = run_names(ctx.dataset, field)
    images = {id_: row.images for row in class_rows(ctx.dataset, field) for id_ in row.ids}
    chosen = _boxes(params, field)
    for id_, name in names.all.items():
        hidden = id_ in names.hidden
        count = images.get(id_, 0)
        shown = "hidden" if hidden else f"in {count} image{'' if count == 1 else 's'}"
        inputs.bool(
            _box(field, id_),
            default=hidden,
            label=f"Hide {show_name(name)}",
            description=f"class {id_}, {shown}",
        )
    if names.all and all(chosen.get(id_, id_ in names.hidden) for id_ in names.all):
        refuse(inputs, _box(field, next(iter(names.all))), "at least one class has to stay visible")


def _set_hidden(dataset: Any, field: str, boxes: dict[int, bool]) -> int:
    """Hide and show as the boxes say and return how many images changed."""
    from fiftyone_plugin.dataset.editing import hide_classes, show_classes
    from fiftyone_plugin.dataset.editing.history import run_names

    names, samples = run_names(dataset, field), 0
    unknown = sorted(boxes.keys() - names.all.keys())
    if unknown:
        raise UsageError(f"{field!r} has no class {unknown[0]}")
    show = [id_ for id_, hidden in boxes.items() if not hidden and id_ in names.hidden]
    hide = [id_ for id_, hidden in boxes.items() if hidden and id_ not in names.hidden]
    if show:
        samples += show_classes(dataset, field, show).samples
    if hide:
        samples += hide_classes(dataset, field, hide).samples
    return samples
